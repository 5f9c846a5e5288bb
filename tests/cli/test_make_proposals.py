"""`rfcn make-proposals`."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rfcn.cli.main import main
from rfcn.datasets.proposal_files import read_proposals

CONFIG = """
data: {{root: {root}, train: train, val: val}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "shapes"
    assert main(["make-shapes", "-o", str(folder), "--train", "3", "--val", "1"]) == 0
    path = tmp_path / "a.yaml"
    path.write_text(CONFIG.format(root=folder))
    return path


def played(image: np.ndarray, *, most: int, quality: bool) -> np.ndarray:
    """In the place of the search: the whole picture."""
    height, width = image.shape[:2]
    return np.array([[0, 0, width, height]], np.float32)


def test_without_the_contrib_module_one_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    assert main(["make-proposals", "-c", str(config), "-o", str(tmp_path / "p")]) == 6
    error = capsys.readouterr().err
    assert "opencv-contrib-python-headless" in error
    assert len(error.strip().splitlines()) == 1


def test_it_writes_both_sets_and_the_settings_that_read_them(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr("rfcn.inference.proposing.selective_search", played)
    output = tmp_path / "p"
    words = ["make-proposals", "-c", str(config), "-o", str(output)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert len(read_proposals(output / "train.npz")) == 3
    assert len(read_proposals(output / "val.npz")) == 1
    settings = tmp_path / "settings.yaml"
    settings.write_text(said[said.index("model:") :])
    from rfcn.config.loader import load_config

    assert load_config(settings).data.proposals.pixels == "half_open"
    # a second run finds all done, one that was stopped goes on
    monkeypatch.setattr("rfcn.inference.proposing.selective_search", None)
    assert main(words) == 0


def test_at_least_one_box(config: Path, tmp_path: Path, capsys) -> None:
    assert main(["make-proposals", "-c", str(config), "--most", "0"]) == 2
    assert "--most 0: expected at least 1" in capsys.readouterr().err
