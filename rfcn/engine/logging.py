"""What a run tells: lines or a progress bar, train.log, metrics.jsonl and TensorBoard."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from rfcn.engine.alarms import Alarms
from rfcn.engine.atomic import write_atomically
from rfcn.engine.bundle import FailedStep, RunFacts, where_to_look, write_bundle
from rfcn.engine.console import Console
from rfcn.engine.tensorboard import TensorBoard

NOWHERE = RunFacts()
"""A run of which nothing is known."""


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
    """Pictures of the step, of all processes."""
    data_seconds: float
    """Waited for the batch."""
    seconds: float
    """The whole step."""
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    """What else the model tells of the step: scalars, as `losses`, that are no part of `loss`."""


class RunLog:
    """Writes a run down, in its folder and on the console. Use it in a `with` block.

    Every `every` steps one line goes to the console, train.log, metrics.jsonl and TensorBoard, with
    means over the steps since the last one (metrics.jsonl also has the last values). Names are the
    same everywhere: `train/loss`, `train/loss_rpn_cls`, `train/lr`, `train/grad_norm`,
    `train/fg_rois_per_image`, `time/step`, `time/data` (seconds), `val/mAP@0.5`; `train/stage` in a
    run of several.
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
        facts: RunFacts = NOWHERE,
    ) -> None:
        """Open the files of `folder`; what a resumed run wrote past `start_step` is dropped.

        Args:
            iterations: the last step, for the time left.
            before: the `state` of the log after `start_step`, for lines as of an undisturbed run.
            tensorboard: write folder/tensorboard too; says so once where that fails.
            console: also speak on the terminal.
            facts: what to say of the run where a step of it fails.
        """
        self._folder = folder
        self._iterations = iterations
        self._every = every
        self._stage: tuple[int, int] | None = None
        self._until = iterations
        self._began = time.monotonic()
        self._window = _Window()
        self._facts = facts
        self._alarms = Alarms(self.warn)
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

    def failure(self, report: Mapping[str, Any], failed: FailedStep) -> str:
        """Keep a failed step in failure/step_NNNNNNNN; a sentence on where to look."""
        written = write_bundle(self._folder / "failure", failed, report, self._facts)
        self._remember(f"failed at step {failed.step}: {report['likely_cause']}")
        return where_to_look(*written)

    def close(self) -> None:
        """Close the files and the progress bar."""
        for part in (self._console, self._tensorboard, self._metrics, self._text):
            if part is not None:
                part.close()

    def _write(self, record: StepRecord) -> None:
        means, last = self._window.read()
        self._alarms.look(means, self._window.steps)
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
        for name, scalar in (*record.losses.items(), *record.figures.items()):
            term = scalar.detach().float()
            self._sums[name] = self._sums[name] + term if name in self._sums else term
        self._last = record
        self.steps += 1

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """(means over the window, values of its last step), by tag. Waits for the device once."""
        assert self._last is not None
        terms = {name: value.detach().float() for name, value in self._last.losses.items()}
        stacked = [*self._sums.values(), *terms.values()]
        values = torch.stack(stacked).tolist() if stacked else []
        sums = zip(self._sums, values[: len(self._sums)], strict=True)
        means = {tag: total / self.steps for tag, total in self._numbers.items()}
        means |= {f"train/{name}": total / self.steps for name, total in sums}
        last = {"train/loss": self._last.loss, "train/grad_norm": self._last.gradient_norm}
        rest = zip(terms, values[len(self._sums) :], strict=True)
        last |= {f"train/{name}": value for name, value in rest}
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
    foreground = metrics.get("train/fg_rois_per_image")
    words = [
        f"step {step}/{iterations}",
        f"eta {clock(left)}",
        f"lr {metrics['train/lr']:.1e}",
        f"loss {metrics['train/loss']:.3f}",
        *terms,
        *([f"fg {foreground:.1f}"] if foreground is not None else []),
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
