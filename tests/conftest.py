"""Fixtures every test may use."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rfcn.config import schema


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data named by RFCN_TEST_DATA; without it the test is skipped."""
    named = os.environ.get("RFCN_TEST_DATA")
    if not named:
        pytest.skip("RFCN_TEST_DATA names no folder of real data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"RFCN_TEST_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    """The slow second versions in tests/models/numpy_oracles.py."""
    path = Path(__file__).parent / "models" / "numpy_oracles.py"
    spec = importlib.util.spec_from_file_location("numpy_oracles", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny_model() -> schema.Model:
    """The config of a detector for pictures of about 100 pixels, a few milliseconds a step."""
    return schema.Model(
        backbone=schema.TinyBackbone(type="tiny", width=8, stride=8),
        proposer=schema.RPN(
            anchors=schema.Anchors(base_size=8, scales=(2, 4, 8)), channels=32, candidates=300
        ),
        roi_head=schema.RFCN(k=3, reduction=32),
    )


@pytest.fixture
def tiny_detector(tiny_model: schema.Model) -> Callable[..., Any]:
    """Makes such a detector, always of the same weights: `tiny_detector(classes=3)`.

    Sections of the config can be replaced: `tiny_detector(roi_loss=schema.OHEM(keep=8))`.
    """
    from rfcn.build import build_detector

    def make(classes: int = 3, **sections: Any) -> Any:
        names = [f"class{number}" for number in range(1, classes + 1)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build_detector(tiny_model.model_copy(update=sections), names)

    return make
