"""A toy detector and a toy loader with the contracts of the real ones, at no cost."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfcn.engine.logging import RunLog
from rfcn.structures import ImageBatch, Target


class ToyDetector(nn.Module):
    """Four losses on a handful of weights; draws from every global generator, as dropout would."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 4)
        self.poison_at: int | None = None
        self.calls = 0

    def forward(self, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]:
        self.calls += 1
        noise = torch.rand(()) + random.random() + float(np.random.rand())
        features = self.norm(self.stem(batch.tensor.float() / 255)).mean((2, 3))
        wanted = torch.stack([target.boxes.mean() / 100 for target in targets])
        error = (self.head(features) - wanted[:, None] - 0.01 * noise).square().mean(0)
        names = ("loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box")
        losses = dict(zip(names, error, strict=True))
        if self.calls == self.poison_at:
            losses["loss_cls"] = losses["loss_cls"] * float("nan")
        return losses


class ToyLoader:
    """Endless batches of two, each a pure function of its step, beginning after `start_step`."""

    def __init__(self, start_step: int = 0) -> None:
        self.start_step = start_step

    def __iter__(self) -> Iterator[tuple[ImageBatch, list[Target]]]:
        step = self.start_step
        while True:
            step += 1
            yield toy_batch(step)


def toy_batch(step: int) -> tuple[ImageBatch, list[Target]]:
    """Two pictures of 8 x 8 with a box each, drawn from the step's own generator."""
    generator = torch.Generator().manual_seed(step)
    tensor = torch.randint(0, 256, (2, 3, 8, 8), generator=generator, dtype=torch.uint8)
    ids = [f"step{step}_a", f"step{step}_b"]
    sizes = [(8, 8), (8, 8)]
    boxes = torch.tensor([[1.0, 1.0, 5.0, 6.0]])
    target = Target(boxes, torch.tensor([1]), torch.tensor([False]), seed=step)
    return ImageBatch(tensor, sizes, sizes, ids), [target, target]


@pytest.fixture
def toy_model() -> ToyDetector:
    torch.manual_seed(0)
    return ToyDetector()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tmp_path, iterations=8, every=2, tensorboard=False, console=False) as opened:
        yield opened


@pytest.fixture
def toy_detector() -> type[ToyDetector]:
    return ToyDetector


@pytest.fixture
def toy_loader() -> type[ToyLoader]:
    return ToyLoader
