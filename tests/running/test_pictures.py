"""What a run draws; whole runs: tests/test_experiment.py."""

from pathlib import Path
from typing import Any

import numpy as np

from rfcn.config.loader import load_config
from rfcn.datasets.skipped import SkippedPictures
from rfcn.inference.detector import Detector
from rfcn.running.pictures import draw_targets, draw_votes


def test_no_targets_are_drawn_where_no_pictures_are_wanted(trained_run, tmp_path: Path) -> None:
    config = load_config(trained_run.config, ["runtime.pictures=0"])
    assert draw_targets(config, None, tmp_path, SkippedPictures()) is None  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_votes_are_drawn_only_where_something_was_found(trained_run, tmp_path: Path) -> None:
    detector = Detector.from_pretrained(trained_run.weights)

    class Empty:
        ids = ("a/b",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            black = np.zeros((90, 90, 3), np.uint8)
            return type("Sample", (), {"image": black, "id": "a/b", "proposals": None})

    draw_votes(detector, Empty(), tmp_path / "votes", count=3)  # type: ignore[arg-type]
    assert not (tmp_path / "votes").exists(), "an undertrained detector is sure of nothing here"
