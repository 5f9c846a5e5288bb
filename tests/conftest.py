"""Fixtures every test may use."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# One thread a process, as the tests run side by side: threads that wait for each other on busy
# cores can be ten times slower than one. Whoever tests threads sets their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # reads it

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


TINY = """
model:
  backbone: {{type: tiny, width: 8, stride: 8}}
  proposer:
    anchors: {{base_size: 8, scales: [2, 3, 5], ratios: [0.5, 1, 2]}}
    channels: 32
    candidates: 300
    train_proposals: 60
    test_proposals: 30
  roi_head: {{k: 3, reduction: 32}}
  roi_loss: {{type: ohem, keep: 32}}
data:
  root: {root}
  train: train
  val: val
  train_short_sides: [96, 112]
  test_short_side: 112
  max_long_side: 160
  workers: 0
train:
  lr: 0.02
  iterations: 40
  lr_steps: [30]
  warmup_iterations: 5
  schedule_batch_size: 2
  batch_size: 2
runtime: {{device: cpu, log_every: 2, pictures: 2}}
"""


@dataclass(frozen=True)
class TrainedRun:
    """What one short training by the commands left. Read it, never write into it."""

    data: Path
    """The generated data set: 6 + 3 pictures."""
    config: Path
    output: Path
    said: str
    """What the command printed."""

    @property
    def weights(self) -> Path:
        """The folder of its last weights."""
        return self.output / "weights" / "last"

    @property
    def pictures(self) -> list[Path]:
        """The pictures of the data set."""
        return sorted((self.data / "JPEGImages").iterdir())


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A detector of a few thousand weights, trained for 40 steps in some seconds."""
    from rfcn.cli.main import main

    folder = tmp_path_factory.mktemp("road")
    data, config, output = folder / "shapes", folder / "tiny.yaml", folder / "run"
    config.write_text(TINY.format(root=data))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr("rfcn.running.pictures.SHOWN_SCORE", 0.02)  # so soon, nothing is sure
        assert main(["make-shapes", "-o", str(data), "--train", "6", "--val", "3"]) == 0
        assert main(["train", "-c", str(config), "-o", str(output)]) == 0
    return TrainedRun(data, config, output, said.getvalue())
