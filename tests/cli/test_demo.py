"""`rfcn demo`: one command from nothing to a table, and again at no cost."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rfcn.cli.main import main
from rfcn.datasets import shapes

SMALL = (
    *("model.backbone.width=8", "model.proposer.channels=16", "model.roi_head.reduction=16"),
    *("data.train_short_sides=[96]", "data.test_short_side=96", "data.workers=0"),
    *("train.iterations=4", "train.lr_steps=[3]", "train.warmup_iterations=1"),
    *("train.batch_size=2", "train.schedule_batch_size=2", "runtime.device=cpu"),
    *("runtime.pictures=1", "runtime.checkpoint_every=2"),
)


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rfcn demo`, with fewer pictures and steps."""
    monkeypatch.setattr(shapes, "make_shapes", partial(shapes.make_shapes, train=8, val=2))
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> int:
        return main(["demo", "--set", *SMALL, *overrides])

    return run


def test_the_whole_road_and_the_table_again(
    demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo("eval.floor=0") == 0
    first = capsys.readouterr().out
    assert "step 4/4" in first
    assert (tmp_path / "runs/demo/weights/last/model.safetensors").is_file()
    pictures = {path: path.stat().st_mtime_ns for path in tmp_path.glob("data/shapes/*/*")}
    assert len(pictures) == 8 + 2 + 8 + 2 + 1

    assert demo("eval.floor=0") == 0
    again = capsys.readouterr().out
    assert "runs/demo: already complete, 4 steps." in again
    table = first.partition(" class ")[2]
    assert table
    assert again.endswith(table)
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures, "nothing drawn anew"


def test_a_demo_that_was_stopped_goes_on(
    demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rfcn.experiment.assess", fail)
        assert demo("eval.floor=0", "eval.every=2") == 130
    assert demo("eval.floor=0", "eval.every=2") == 0
    assert "going on after step 2" in capsys.readouterr().out


def test_a_demo_that_learned_too_little_fails(demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo() == 1
    assert "below eval.floor, 0.9." in capsys.readouterr().err


def test_files_of_others_are_left_alone(demo, tmp_path: Path, fault) -> None:
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/thesis.txt").touch()
    message = fault("demo", "--set", *SMALL, code=2)
    assert "was not written by a run" in message
    assert (tmp_path / "runs/demo/thesis.txt").exists()
