"""What a command prints when it is done."""

import json
from pathlib import Path

import pytest

from rfcn.assessment import detections_file, rescore
from rfcn.build import build_dataset
from rfcn.cli.report import report
from rfcn.config.loader import config_from_mapping, load_config, override_config


@pytest.fixture(scope="module")
def config(trained_run):
    return load_config(trained_run.config)


@pytest.fixture(scope="module")
def result(trained_run, config):
    names = json.loads((trained_run.weights / "config.json").read_text())["classes"]
    dataset = build_dataset(config.data, "val", class_names=names)
    return rescore(dataset, config, detections_file(trained_run.output))


def test_only_what_is_there_is_named(
    result, config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a run" / "eval").mkdir(parents=True)
    assert report(result, config, tmp_path / "a run") == 0
    said = capsys.readouterr().out
    assert f"figures:  {tmp_path / 'a run' / 'eval'}" in said
    assert "weights:" not in said
    assert "next:" not in said
    (tmp_path / "a run" / "weights" / "best").mkdir(parents=True)
    report(result, config, tmp_path / "a run")
    said = capsys.readouterr().out
    assert f"next:     rfcn infer --weights '{tmp_path / 'a run/weights/best'}' --input" in said


def test_the_floor_is_the_lowest_that_passes(
    result, config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = result.mean_ap(0.5)
    assert report(result, override_config(config, [f"eval.floor={mean!r}"]), tmp_path) == 0
    assert capsys.readouterr().err == ""
    assert report(result, override_config(config, [f"eval.floor={mean + 0.01!r}"]), tmp_path) == 1
    error = capsys.readouterr().err
    assert error == f"error: mAP@0.5 is {mean:.4f}, below eval.floor, {mean + 0.01:g}.\n"


def test_a_mean_that_does_not_exist_is_below_any_floor(
    result, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(result), "mean_ap", lambda self, threshold: None)
    config = config_from_mapping({"eval": {"floor": 0.0}})
    assert report(result, config, tmp_path) == 1
    assert "mAP@0.5 is not available, below eval.floor, 0." in capsys.readouterr().err
