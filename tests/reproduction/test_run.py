"""Rows are run once, go on where they stopped, and remember what they gave."""

import json

import numpy as np
import pytest

from rfcn.config.loader import config_from_mapping, load_config
from rfcn.datasets.proposal_files import read_proposals
from rfcn.datasets.shapes import make_shapes
from rfcn.inference import proposing
from rfcn.reproduction import run
from rfcn.reproduction.tables import TABLES, Row, Table


@pytest.fixture
def row(trained_run):
    return Row("tiny", "a tiny detector", str(trained_run.config), paper=50.0)


@pytest.fixture
def config(row):
    return load_config(
        row.config,
        [
            "train.iterations=3",
            "train.lr_steps=[]",
            "train.warmup_iterations=0",
            "runtime.pictures=0",
        ],
    )


def test_a_row_is_trained_measured_and_not_run_twice(row, config, tmp_path, monkeypatch):
    first = run.run_row(row, config, tmp_path / "row")
    assert first.row == "tiny"
    assert first.images == 3 * config.train.batch_size
    assert set(first.mean_ap) == {f"{one:g}" for one in config.eval.iou_thresholds}
    assert first.train_seconds > 0
    assert first.test_seconds > 0
    monkeypatch.setattr(run, "run_experiment", None)  # nothing is trained
    said = []
    assert run.run_row(row, config, tmp_path / "row", say=said.append) == first
    assert said == ["tiny, seed 0: done before"]


def test_a_row_that_was_stopped_goes_on(row, config, tmp_path, monkeypatch):
    calls = []

    def stopped(config, folder, **how):
        calls.append(how)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        return 15

    monkeypatch.setattr(run, "run_experiment", stopped)
    assert run.run_row(row, config, tmp_path / "row") == 15
    monkeypatch.setattr(run, "checkpoints", lambda folder: ["one"])
    assert run.run_row(row, config, tmp_path / "row") == 15
    assert calls == [
        {"resume": False, "overwrite": True},
        {"resume": True, "overwrite": False},
    ]
    assert not (tmp_path / "row" / "outcome.json").exists()


def test_fewer_rois():
    config = config_from_mapping({}, source="test")
    tenth = run.with_fewer_rois(config, 10)
    assert tenth.model.proposer.train_proposals == tenth.model.proposer.test_proposals == 30
    assert tenth.model.roi_loss.keep == 12
    sampled = config_from_mapping({"model": {"roi_loss": {"type": "sampled"}}}, source="test")
    assert run.with_fewer_rois(sampled, 10).model.roi_loss.rois == 12
    assert run.with_fewer_rois(config, 1) is config


def test_a_scale_lies_between_the_row_and_the_command_line(trained_run, monkeypatch):
    row = Row("k1", "", "rfcn/r101_voc.yaml", 1.0, settings={"toy": ("model.roi_head.k=1",)})
    config = run.row_config(
        row, Table("", (row,)), "toy", seed=2, data="some: where", overrides=["train.lr=0.5"]
    )
    assert config.model.backbone.type == "tiny"
    assert config.model.roi_loss.type == "sampled"
    assert config.model.roi_head.k == 1
    assert (config.train.lr, config.runtime.seed, config.data.root) == (0.5, 2, "some: where")
    assert json.loads(json.dumps(config.model_dump(mode="json")))


def test_data_and_proposals_are_made_where_a_scale_makes_its_own(tmp_path, monkeypatch):
    table = TABLES["proposals"]
    [row] = [one for one in table.rows if one.name == "selective_search"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "make_shapes", lambda root, kind: make_shapes(root, train=2, val=1))
    boxes = np.array([[0, 0, 9, 9]], np.float32)
    monkeypatch.setattr(proposing, "selective_search", lambda image, **_: boxes)
    config = run.row_config(row, table, "toy", seed=0)
    run.prepare_data(config, table.scales["toy"])
    assert len(read_proposals(tmp_path / config.data.proposals.train[0])) == 2
    assert len(read_proposals(tmp_path / config.data.proposals.val[0])) == 1
    assert config.model.proposer.train_proposals == 200  # a tenth


def test_what_earlier_commands_measured_is_read_again(tmp_path):
    table = Table("", (Row("b", "", ""), Row("a", "", "")))
    for row, seed in (("a", 0), ("b", 1), ("b", 0), ("other", 0)):
        folder = tmp_path / row / f"seed{seed}"
        folder.mkdir(parents=True)
        one = run.Outcome(row, seed, {"0.5": 0.5}, 3, 0.1, 0.1, None)
        (folder / "outcome.json").write_text(json.dumps(one.__dict__))
    (tmp_path / "a" / "seed7").mkdir()  # begun, not done
    found = [(one.row, one.seed) for one in run.read_outcomes(table, tmp_path)]
    assert found == [("b", 0), ("a", 0), ("b", 1)]
