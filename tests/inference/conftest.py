"""What tests of detectors in use share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.config import schema
from rfcn.datasets.rules import FileRules
from rfcn.inference.detector import Detector
from rfcn.inference.frames import Frame
from rfcn.inference.results import NamedDetections

NAMES = ("cat", "dog", "red fox")


@pytest.fixture
def tiny(tiny_model: schema.Model, tiny_detector: Callable[..., Any]) -> Detector:
    """An untrained detector of three classes, which finds something everywhere."""
    data = schema.Data(test_short_side=64, train_short_sides=(64,), max_long_side=96)
    config = schema.Config(model=tiny_model, data=data)
    return Detector(tiny_detector(classes=3), class_names=NAMES, config=config)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """Uint8 RGB [48, 64, 3], another colour in every corner."""
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 5, columns * 3, (rows + columns) * 2], axis=2).astype(np.uint8)


@pytest.fixture
def frame(photo: np.ndarray, tmp_path: Path) -> Frame:
    """The photo, from a file `in/a.png`."""
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    Image.fromarray(photo).save(path)
    return Frame(photo, path, "a")


@pytest.fixture
def found(photo: np.ndarray) -> NamedDetections:
    """A dog, a cat that fills a corner, and a slim fox at the right border."""
    return NamedDetections(
        boxes=torch.tensor([[1.0, 2, 30.125, 40.5], [0, 0, 25, 25], [63.2, 10, 64, 40]]),
        scores=torch.tensor([0.9, 0.75, 0.5]),
        labels=torch.tensor([2, 1, 3]),
        class_names=NAMES,
        size=(48, 64),
        source=photo,
        rules=FileRules(),
    )


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video of so many grey frames of 48 x 64 pixels, each with a bright square moved on;
    motion JPEG, which every OpenCV writes and reads."""

    def write(frames: int = 6, name: str = "clip.avi", *, keep: float = 1) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
        noise = np.random.default_rng(0)
        for number in range(frames):
            image = noise.integers(0, 60, (48, 64, 3), np.uint8)  # so that no frame is small
            image[8:40, 2 + 4 * number : 10 + 4 * number] = (0, 0, 255)  # BGR: red
            writer.write(image)
        writer.release()
        content = path.read_bytes()
        path.write_bytes(content[: round(len(content) * keep)])
        return path

    return write
