"""Whole runs with half the bits and with an average of the weights: stopped, resumed, measured."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rfcn import experiment as experiment_module
from rfcn.assessment import assess
from rfcn.config.loader import load_config
from rfcn.config.schema import Config
from rfcn.engine.checkpoint import load_checkpoint
from rfcn.engine.weights import load_weights
from rfcn.errors import ConfigError
from rfcn.evaluation import report as report_module
from rfcn.evaluation.voc import VOCResult
from rfcn.experiment import run_experiment
from rfcn.running import pictures as pictures_module
from tests.engine.test_train import assert_same

SHORT = (
    *("train.iterations=4", "train.lr_steps=[]", "train.warmup_iterations=0"),
    *("runtime.pictures=0", "runtime.tensorboard=false", "runtime.checkpoint_every=2"),
    *("eval.report=false", "model.backbone.norm=batch", "train.ema_decay=0.5"),
)


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    """Curves would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures_module, "plot_losses", lambda _: np.zeros((8, 8, 3), np.uint8))
        patch.setattr(report_module, "draw_pr_curves", lambda *_, **__: None)
        yield


def config(trained_run: Any, *overrides: str) -> Config:
    return load_config(trained_run.config, [*SHORT, *overrides])


def weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    return load_weights(run / "weights" / name)[0]


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    return load_checkpoint(run / f"checkpoints/step_{step:08}.pt")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_w18_stopped_and_resumed_equals_undisturbed(trained_run, tmp_path, precision) -> None:
    plan = config(trained_run, f"train.precision={precision}")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert isinstance(run_experiment(plan, whole), VOCResult)
    shutil.copytree(whole, parts)
    for leftover in (*parts.glob("checkpoints/*4.pt*"), *parts.glob("weights/*/*")):
        leftover.unlink()
    assert isinstance(run_experiment(plan, parts, resume=True), VOCResult)
    one, two = checkpoint(whole, 4), checkpoint(parts, 4)
    for part in ("model", "optimizer", "average", "precision", "rng", "best"):
        assert_same(one[part], two[part])
    assert_same(weights(whole), weights(parts))
    assert_same(weights(whole, "best"), weights(parts, "best"))
    assert bool(one["precision"]["scaler"]) == (precision == "float16")


def test_the_average_is_what_is_measured_and_kept(trained_run, tmp_path, monkeypatch) -> None:
    seen = []

    def watched(model: Any, *args: Any, **options: Any) -> Any:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return assess(model, *args, **options)

    monkeypatch.setattr(experiment_module, "assess", watched)
    run_experiment(config(trained_run, "eval.every=2"), tmp_path)
    state = checkpoint(tmp_path, 4)
    averages = state["average"]["weights"]
    assert state["average"]["updates"] == 4
    assert len(seen) == 2
    kept = weights(tmp_path)
    for name, average in averages.items():
        assert torch.equal(seen[1][name], average)
        assert torch.equal(kept[name], average)
    moved = [name for name in averages if not torch.equal(averages[name], state["model"][name])]
    assert {"backbone.conv1.weight", "backbone.norm1.running_mean"} <= set(moved)


def test_stages_hand_their_averages_on(trained_run, tmp_path: Path) -> None:
    """What the second stage's head learned on, and the third begins with, is an average."""
    plan = config(
        trained_run, "train.scheme.type=alternating", "train.iterations=2", "train.ema_decay=0.9"
    )
    run_experiment(plan, tmp_path)
    averages, second = checkpoint(tmp_path, 4)["average"]["weights"], weights(tmp_path, "stage_2")
    assert {"roi_head.reduce.weight", "backbone.conv2.conv1.weight"} <= set(averages)
    assert all(torch.equal(second[name], average) for name, average in averages.items())
    fourth = checkpoint(tmp_path, 8)["average"]
    assert fourth["updates"] == 2, "each stage begins an average of its own"
    shared = [name for name in fourth["weights"] if name.startswith("backbone.conv2.conv")]
    assert shared == [], "what does not learn is not averaged"
    last = weights(tmp_path)
    assert torch.equal(second["backbone.conv2.conv1.weight"], last["backbone.conv2.conv1.weight"])


def test_w16_another_precision_or_average_is_another_run(trained_run, tmp_path: Path) -> None:
    run_experiment(config(trained_run), tmp_path)
    for changed in ("train.precision=float16", "train.ema_decay=0.9"):
        with pytest.raises(ConfigError, match=changed.split("=")[0]):
            run_experiment(config(trained_run, changed), tmp_path, resume=True)


def test_checkpoints_from_before_the_average_go_on(
    trained_run, tmp_path: Path, monkeypatch
) -> None:
    """Their configs know no precision; they had float32 and no average."""
    plan = config(trained_run, "train.ema_decay=null")
    run_experiment(plan, tmp_path)
    newest = experiment_module.newest_good

    def older(*args: Any) -> Any:
        state = newest(*args)
        assert state is not None
        del state["precision"], state["average"]
        for key in ("precision", "ema_decay"):
            del state["extra"]["config"]["train"][key]
        state["extra"]["evaluated"] = 0
        return state

    monkeypatch.setattr(experiment_module, "newest_good", older)
    assert isinstance(run_experiment(plan, tmp_path, resume=True), VOCResult)
