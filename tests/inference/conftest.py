"""What tests of detectors in use share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rfcn.config import schema
from rfcn.inference.detector import Detector

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
