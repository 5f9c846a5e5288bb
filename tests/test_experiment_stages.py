"""A whole run of alternating training: one folder, resumed anywhere, one detector at the end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rfcn import experiment as experiment_module
from rfcn.config.loader import load_config
from rfcn.config.schema import Config
from rfcn.datasets.image import read_image
from rfcn.engine.checkpoint import load_checkpoint
from rfcn.engine.weights import load_weights
from rfcn.evaluation import report as report_module
from rfcn.evaluation.voc import VOCResult
from rfcn.experiment import run_experiment
from rfcn.inference.detector import Detector
from rfcn.running import pictures as pictures_module

SCHEME = (
    *("train.scheme.type=alternating", "train.iterations=2", "train.lr_steps=[]"),
    *("train.warmup_iterations=0", "model.backbone.norm=batch", "train.weight_decay=0.1"),
    *("runtime.pictures=0", "runtime.tensorboard=false", "runtime.log_every=1"),
)
SHARED = ("backbone.conv1.", "backbone.norm1.", *(f"backbone.conv{n}." for n in (2, 3, 4)))
PARTS = {"shared": SHARED, "rpn": ("proposer.",), "head": ("backbone.conv5.", "roi_head.")}
LEARNS = {
    4: ("shared rpn", "shared head", "rpn", "head"),
    5: ("shared rpn", "shared head", "rpn", "shared head", "rpn"),
}
ANEW = {4: (1, 2), 5: (1, 2, 4)}
"""Stages that begin with the first weights."""


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    """Curves would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures_module, "plot_losses", lambda _: np.zeros((8, 8, 3), np.uint8))
        patch.setattr(report_module, "draw_pr_curves", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def runs(trained_run, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A finished run of four stages of two steps, and one of five."""
    folders = {}
    for count in (4, 5):
        folders[count] = tmp_path_factory.mktemp("stages") / "run"
        config = alternating(trained_run, count)
        assert isinstance(run_experiment(config, folders[count]), VOCResult)
    return folders


def alternating(trained_run: Any, count: int = 4, *overrides: str) -> Config:
    """The tiny config in `count` stages; live batch norm, so that frozen statistics could move."""
    words = [*SCHEME, f"train.scheme.stages={count}", *overrides]
    return load_config(trained_run.config, words)


def weights(run: Path, name: str) -> dict[str, Tensor]:
    return load_weights(run / "weights" / name)[0]


def after(run: Path, number: int, count: int) -> dict[str, Tensor]:
    """The weights at the end of a stage; 0 is the beginning."""
    return weights(
        run, "initial" if number == 0 else "last" if number == count else f"stage_{number}"
    )


def metrics(run: Path) -> list[dict[str, Any]]:
    """Its metrics without what a clock wrote."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    timed = ("seconds", "time/step", "time/data")
    return [{key: line[key] for key in line if key not in timed} for line in lines]


# --------------------------------------------------------------------------------- what learns when


@pytest.mark.parametrize(
    ("count", "number"), [(count, number) for count in (4, 5) for number in range(1, count + 1)]
)
def test_a_stage_moves_what_learns_and_not_a_bit_beside(runs, count: int, number: int) -> None:
    """Parameters and buffers alike: neither weight decay nor batch statistics touch the others."""
    begun = after(runs[count], 0 if number in ANEW[count] else number - 1, count)
    ended = after(runs[count], number, count)
    assert begun.keys() == ended.keys()
    for part, prefixes in PARTS.items():
        names = [name for name in begun if name.startswith(prefixes)]
        still = [name for name in names if torch.equal(begun[name], ended[name])]
        if part in LEARNS[count][number - 1].split():
            assert [name for name in still if "_extra_state" not in name] == []
        else:
            assert still == names
    parted = [name for name in begun if name.startswith(tuple(sum(PARTS.values(), ())))]
    assert {name.split(".")[0] for name in begun.keys() - set(parted)} == {"normalize"}


@pytest.mark.parametrize("count", [4, 5])
def test_rpn_and_head_end_on_the_convolutions_of_one_stage(runs, count: int) -> None:
    last = after(runs[count], count, count)
    source = after(runs[count], {4: 2, 5: 4}[count], count)
    shared = [name for name in last if name.startswith(SHARED)]
    assert shared
    assert all(torch.equal(last[name], source[name]) for name in shared)


def test_each_stage_has_its_losses_and_its_number(runs) -> None:
    lines = [line for line in metrics(runs[5]) if "train/loss" in line]
    rpn, head = {"loss_rpn_cls", "loss_rpn_box"}, {"loss_cls", "loss_box"}
    found = [
        (line["step"], line["train/stage"], {tag[6:] for tag in line if "/loss_" in tag})
        for line in lines
    ]
    kinds = (rpn, head, rpn, head, rpn)
    assert found == [
        (step, stage, kinds[stage - 1])
        for step, stage in zip(range(1, 11), sorted(2 * [1, 2, 3, 4, 5]), strict=True)
    ]
    said = (runs[5] / "train.log").read_text()
    assert "stage 4 of 5, steps 7 to 8: the head, from the weights the run began with" in said
    assert "stage 5/5 step 10/10 " in said


# ------------------------------------------------------------------------------------ the one model


@pytest.mark.parametrize("count", [4, 5])
def test_the_last_weights_are_a_detector_as_any_other(runs, trained_run, count: int) -> None:
    detector = Detector.from_pretrained(runs[count] / "weights" / "last")
    image = read_image(trained_run.pictures[0])
    batch = detector.batch([image])
    with torch.inference_mode():
        [proposals], _ = detector.model.proposer(batch, detector.model.features(batch))
    assert len(proposals) > 5
    assert len(detector.predict([image])[0]) > 0
    [measured] = [line for line in metrics(runs[count]) if "val/mAP@0.5" in line]
    assert measured["step"] == 2 * count


# ----------------------------------------------------------------------------------- it goes on


@pytest.mark.parametrize("stopped_after", [5, 6], ids=["in it", "at its end"])
def test_killed_in_the_third_stage_it_goes_on_there(
    runs, trained_run, tmp_path: Path, monkeypatch, stopped_after: int
) -> None:
    """Steps 5 and 6 are the third stage's. The process dies without a word."""
    config = alternating(trained_run, 5, "runtime.checkpoint_every=1")
    save = experiment_module.save_checkpoint

    class Killed(BaseException):
        pass

    def dies(folder: Path, state: dict[str, Any], step: int) -> None:
        save(folder, state, step)
        if step == stopped_after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(experiment_module, "save_checkpoint", dies)
        with pytest.raises(Killed):
            run_experiment(config, tmp_path / "run")
    assert load_checkpoint(tmp_path / f"run/checkpoints/step_{stopped_after:08}.pt")
    assert isinstance(run_experiment(config, tmp_path / "run", resume=True), VOCResult)
    for name in ("last", "best", *(f"stage_{number}" for number in (1, 2, 3, 4))):
        mine, theirs = (
            run / "weights" / name / "model.safetensors" for run in (tmp_path / "run", runs[5])
        )
        one, two = load_weights(mine)[0], load_weights(theirs)[0]
        assert all(torch.equal(one[key], two[key]) for key in {**one, **two}), name
    assert metrics(tmp_path / "run") == metrics(runs[5])
