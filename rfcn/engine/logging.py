"""What a run tells: lines or a progress bar, train.log, metrics.jsonl and TensorBoard."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from rfcn.engine.atomic import write_atomically
from rfcn.engine.console import Console
from rfcn.engine.tensorboard import TensorBoard

DEAD_STEPS = 200
"""A loss term that is exactly zero for so long is a fault worth a warning."""


@dataclass(frozen=True)
class StepRecord:
    """One training step, as the loop saw it."""

    step: int
    lr: float
    loss: float
    losses: Mapping[str, Tensor]
    """The terms of `loss`: scalars, on the device; read only when a line is due."""
    gradient_norm: float
    """Before it was shortened."""
    images: int
    data_seconds: float
    """Waited for the batch."""
    seconds: float
    """The whole step."""


class RunLog:
    """Writes a run down, in its folder and on the console. Use it in a `with` block.

    Every `every` steps one line goes to the console, train.log, metrics.jsonl and TensorBoard, with
    means over the steps since the last one (metrics.jsonl also has the last values). Names are the
    same everywhere: `train/loss`, `train/loss_rpn_cls`, `train/lr`, `train/grad_norm`,
    `time/step`, `time/data` (seconds), `val/mAP@0.5`; `train/stage` in a run of several.
    """

    def __init__(
        self,
        folder: Path,
        *,
        iterations: int,
        every: int = 20,
        start_step: int = 0,
        before: Mapping[str, Any] | None = None,
        tensorboard: bool = True,
        console: bool = True,
    ) -> None:
        """Open the files of `folder`; what a resumed run wrote past `start_step` is dropped.

        Args:
            iterations: the last step, for the time left.
            before: the `state` of the log after `start_step`, for lines as of an undisturbed run.
            tensorboard: write folder/tensorboard too; says so once where that fails.
            console: also speak on the terminal.
        """
        self._folder = folder
        self._iterations = iterations
        self._every = every
        self._stage: tuple[int, int] | None = None
        self._until = iterations
        self._began = time.monotonic()
        self._window = _Window()
        self._dead: dict[str, int] = {}
        self._written, self._images = _drop_later_steps(folder / "metrics.jsonl", start_step)
        if before is not None:
            self._images = before["images"]
            self._window = _Window(**before["window"])
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._text: TextIO = (folder / "train.log").open("a", encoding="utf-8")
        self._console = Console(iterations, start_step) if console else None
        self._tensorboard = (
            TensorBoard(folder / "tensorboard", start_step=start_step, warn=self.warn)
            if tensorboard
            else None
        )

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, record: StepRecord) -> None:
        """Take note of a step; write every `every` steps and at the last one, of a stage too."""
        self._window.add(record)
        self._images += record.images
        if self._console is not None:
            self._console.advance(record.step)
        if record.step % self._every == 0 or record.step == self._until:
            self._write(record)
            self._window = _Window()

    def state(self) -> dict[str, Any]:
        """What is known of the steps since the last line, as a checkpoint can hold it."""
        return {"images": self._images, "window": self._window.state()}

    def stage(self, number: int, *, of: int, until: int) -> None:
        """Steps up to `until` belong to stage `number`, from 1, and are written so."""
        self._stage, self._until = (number, of), until

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Write numbers such as `val/mAP@0.5`; None or NaN means not available."""
        self._write_metrics({"step": step, **values})
        if self._tensorboard is not None:
            known = {tag: x for tag, x in values.items() if x is not None and math.isfinite(x)}
            self._tensorboard.scalars(known, step)

    def picture(self, tag: str, image: np.ndarray, step: int) -> None:
        """Write a uint8 RGB picture [H, W, 3] to TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.picture(tag, image, step)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Write text, such as the config, to TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.text(tag, text, step)

    def say(self, line: str) -> None:
        """One line for the user, on the console and in train.log."""
        self._remember(line)
        if self._console is not None:
            self._console.say(line)

    def warn(self, line: str) -> None:
        """A line that begins with `warning:`."""
        self.say(f"warning: {line}")

    def failure(self, report: Mapping[str, Any]) -> None:
        """Keep the numbers of a failed step in failure.json."""
        (self._folder / "failure.json").write_text(json.dumps(report, indent=2) + "\n")
        self._remember(f"failed: {json.dumps(report)}")

    def close(self) -> None:
        """Close the files and the progress bar."""
        for part in (self._console, self._tensorboard, self._metrics, self._text):
            if part is not None:
                part.close()

    def _write(self, record: StepRecord) -> None:
        means, last = self._window.read()
        self._warn_of_dead_terms(means)
        metrics = {"train/lr": record.lr, **means}
        if self._stage is not None:
            metrics["train/stage"] = self._stage[0]
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            metrics["system/gpu_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
        extra = {"images": self._images, "seconds": round(time.monotonic() - self._began, 3)}
        self._write_metrics({"step": record.step, **metrics, "last": last, **extra})
        if self._tensorboard is not None:
            self._tensorboard.scalars(metrics, record.step)
        left = (self._iterations - record.step) * means["time/step"]
        stage = "" if self._stage is None else "stage {}/{} ".format(*self._stage)
        line = stage + format_line(record.step, self._iterations, left, metrics)
        self._remember(line)
        if self._console is not None:
            short = f"{stage}loss {means['train/loss']:.3f} eta {clock(left)}"
            self._console.progress(line, short)

    def _write_metrics(self, values: Mapping[str, Any]) -> None:
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }
        line = json.dumps(finite)
        if line in self._written:  # of an evaluation that was measured, and not yet kept
            return
        self._metrics.write(line + "\n")
        self._metrics.flush()

    def _remember(self, line: str) -> None:
        self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        self._text.flush()

    def _warn_of_dead_terms(self, means: Mapping[str, float]) -> None:
        for tag, mean in means.items():
            if not tag.startswith("train/loss_"):
                continue
            before = self._dead.get(tag, 0)
            self._dead[tag] = before + self._window.steps if mean == 0 else 0
            if before < DEAD_STEPS <= self._dead[tag]:
                self.warn(
                    f"{tag.removeprefix('train/')} has been exactly 0 for {self._dead[tag]} steps: "
                    "nothing teaches that part. Check that the boxes of the data match the "
                    "pictures, and the foreground thresholds."
                )


class _Window:
    """Sums over the steps since the last line, kept on the device."""

    def __init__(
        self,
        steps: int = 0,
        numbers: Mapping[str, float] | None = None,
        sums: Mapping[str, float] | None = None,
    ) -> None:
        """Begin with nothing, or with the `state` of another."""
        self.steps = steps
        self._numbers = dict(numbers or {})
        self._sums = {name: torch.tensor(total) for name, total in (sums or {}).items()}
        self._last: StepRecord | None = None

    def state(self) -> dict[str, Any]:
        """Its sums, as numbers."""
        sums = {name: total.item() for name, total in self._sums.items()}
        return {"steps": self.steps, "numbers": dict(self._numbers), "sums": sums}

    def add(self, record: StepRecord) -> None:
        numbers = {
            "train/loss": record.loss,
            "train/grad_norm": record.gradient_norm,
            "time/step": record.seconds,
            "time/data": record.data_seconds,
        }
        for tag, value in numbers.items():
            self._numbers[tag] = self._numbers.get(tag, 0.0) + value
        for name, loss in record.losses.items():
            term = loss.detach().float()
            self._sums[name] = self._sums[name] + term if name in self._sums else term
        self._last = record
        self.steps += 1

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """(means over the window, values of its last step), by tag. Waits for the device once."""
        assert self._last is not None
        names = list(self._sums)
        stacked = [*self._sums.values(), *(self._last.losses[n].detach().float() for n in names)]
        values = torch.stack(stacked).tolist() if stacked else []
        tags = [f"train/{name}" for name in names]
        means = {tag: total / self.steps for tag, total in self._numbers.items()}
        means |= {tag: total / self.steps for tag, total in zip(tags, values, strict=False)}
        last = {"train/loss": self._last.loss, "train/grad_norm": self._last.gradient_norm}
        last |= dict(zip(tags, values[len(names) :], strict=True))
        return means, last


def format_line(step: int, iterations: int, left: float, metrics: Mapping[str, float]) -> str:
    """The line of a log step, words in a fixed order.

    Args:
        left: seconds until the end.
        metrics: by tag, as `RunLog` writes them.
    """
    terms = [
        f"{tag.removeprefix('train/loss_')} {value:.3f}"
        for tag, value in metrics.items()
        if tag.startswith("train/loss_")
    ]
    words = [
        f"step {step}/{iterations}",
        f"eta {clock(left)}",
        f"lr {metrics['train/lr']:.1e}",
        f"loss {metrics['train/loss']:.3f}",
        *terms,
        f"grad {metrics['train/grad_norm']:.2f}",
        f"data {metrics['time/data']:.3f}s",
        f"step {metrics['time/step']:.3f}s",
    ]
    if "system/gpu_gigabytes" in metrics:
        words.append(f"mem {metrics['system/gpu_gigabytes']:.1f}G")
    return " ".join(words)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, never negative."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _drop_later_steps(path: Path, start_step: int) -> tuple[set[str], int]:
    """Drop lines past `start_step`, and a line cut by a crash; returns the others, and the pictures
    seen so far."""
    if not path.exists():
        return set(), 0
    kept, images = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if values["step"] <= start_step:
            kept.append(line)
            images = values.get("images", images)
    text = "".join(f"{line}\n" for line in kept)
    write_atomically(path, lambda file: file.write(text.encode()))
    return set(kept), images
