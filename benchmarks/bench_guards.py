"""What the guards of training cost: `engine.train` beside the barest loop over the same steps.

The guards are all that `train` does and a bare loop does not: every loss and the gradient's norm
checked to be finite, long gradients shortened, what went wrong ready to be told, signals asked for,
alarms, the lines of train.log, metrics.jsonl and TensorBoard. Checkpoints are left out.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import report
from scipy.stats import bootstrap
from torch import nn

from rfcn.build import build_detector, build_optimizer, build_train_loader
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.datasets.shapes import make_shapes
from rfcn.datasets.voc import VOCDataset
from rfcn.engine.logging import RunLog
from rfcn.engine.optimizer import set_lr
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Batch, Manner
from rfcn.engine.train import Milestones, train

SIDE, BATCH, DEPTH = 320, 2, 18
PAIRS, STEPS = 20, 4
"""Turns of each loop, and steps of a turn. Each turn ends with a line of the log, so that there are
five times as many lines as by default."""
RATE = 1e-4
GUARDED, BARE = "train()", "bare loop"
METHOD = (
    f"Processor time (all threads) of a training step: R-FCN on ResNet-{DEPTH}, {BATCH} drawn "
    f"pictures of {SIDE} pixels, batches ready in memory. `cost` is the median of {PAIRS} pairs, "
    f"each of {STEPS} steps in `engine.train`, with a line of the log, TensorBoard too, and "
    f"{STEPS} in a loop that only computes losses, their gradients and SGD's step; who begins "
    "alternates. `95 %` is the interval of that median by bootstrap. No checkpoints."
)


class Loops:
    """Both loops, over one detector and the same batches."""

    def __init__(self, folder: Path, config: Config) -> None:
        torch.manual_seed(0)
        make_shapes(folder / "shapes", train=2 * BATCH, val=1)
        pictures = VOCDataset(str(folder / "shapes"), "train")
        self.config = config
        self.model: nn.Module = build_detector(config.model, pictures.class_names)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(config.train, self.model)
        loader = iter(build_train_loader(config, pictures))
        self.batches: list[Batch] = [next(loader) for _ in range(STEPS)]
        self.log = RunLog(folder, iterations=10**6, every=STEPS, console=False)
        self.taken = 0

    def guarded(self) -> None:
        """Some steps as every run takes them."""
        until = self.taken + STEPS
        train(
            self.model,
            self.batches,
            optimizer=self.optimizer,
            schedule=Schedule(RATE, until),
            log=self.log,
            milestones=Milestones(save=lambda step: None, save_every=10**6),
            start_step=self.taken,
            manner=Manner(self.config.train.max_gradient_norm),
        )
        self.taken = until

    def bare(self) -> None:
        """As many steps, and nothing besides."""
        self.model.train()
        schedule = Schedule(RATE, 10**6)
        for step, (batch, targets) in enumerate(self.batches, start=1):
            set_lr(self.optimizer, schedule.lr_at(step))
            self.optimizer.zero_grad()
            losses = self.model(batch, targets)
            torch.stack(list(losses.values())).sum().backward()
            self.optimizer.step()


def config_of(side: int = SIDE, backbone: dict[str, object] | None = None) -> Config:
    """The settings of a run, as published where they do not matter here."""
    return config_from_mapping(
        {
            "model": {"backbone": backbone or {"depth": DEPTH, "weights": "none"}},
            "data": {"train_short_sides": [side], "max_long_side": 2 * side, "workers": 0},
            "train": {"batch_size": BATCH, "schedule_batch_size": BATCH},
        }
    )


def seconds(loop: Callable[[], None]) -> tuple[float, float]:
    """Of one step, by the clock and of the processor."""
    cpu, wall = time.process_time(), time.perf_counter()
    loop()
    return (time.perf_counter() - wall) / STEPS, (time.process_time() - cpu) / STEPS


def bench(loops: Loops, pairs: int = PAIRS) -> list[dict[str, object]]:
    """Both loops in turn."""
    loops.bare()
    loops.guarded()  # not timed
    taken: dict[str, list[tuple[float, float]]] = {GUARDED: [], BARE: []}
    for pair in range(pairs):
        print(f"pair {pair + 1} of {pairs}", file=sys.stderr, flush=True)
        order = [(GUARDED, loops.guarded), (BARE, loops.bare)]
        for name, loop in order if pair % 2 else order[::-1]:
            taken[name].append(seconds(loop))
    ratios = (np.array(taken[GUARDED]) / np.array(taken[BARE]))[:, 1] - 1
    found = bootstrap((ratios,), np.median, method="percentile", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    times = {
        name: {
            f"{clock}_{kind}_ms": round(1000 * function(times[index] for times in one), 3)
            for index, clock in enumerate(("wall", "cpu"))
            for kind, function in (("median", statistics.median), ("min", min))
        }
        for name, one in taken.items()
    }
    percent = [100 * float(value) for value in (np.median(ratios), low, high)]
    said = {"cost": f"{percent[0]:+.2f} %", "95 %": f"{percent[1]:+.2f} to {percent[2]:+.2f} %"}
    return [{"pictures": f"{BATCH} of {SIDE}", "pairs": pairs, **said, "ms": times}]


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        rows = bench(Loops(Path(temporary), config_of()))
    report("guards", rows, METHOD)
