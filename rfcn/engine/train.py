"""The training loop, in reading order."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from rfcn.engine import failure
from rfcn.engine.logging import RunLog, StepRecord
from rfcn.engine.optimizer import set_lr
from rfcn.engine.schedule import Schedule
from rfcn.engine.signals import StopRequest, stop_on_signals
from rfcn.errors import DataError, MachineError, NumericalError
from rfcn.structures import ImageBatch, Target

Batch = tuple[ImageBatch, list[Target]]


@dataclass(frozen=True)
class Milestones:
    """What happens between steps. Each callable is told the step that was just taken."""

    save: Callable[[int], object]
    """Keep a checkpoint."""
    save_every: int
    """Steps between two of them; the last step always has one."""
    evaluate: Callable[[int], object] | None = None
    """Measure the model. It is saved before, so that a failing evaluation costs nothing, and after,
    so that a resumed run knows the result."""
    evaluate_every: int = 0
    """Steps between two evaluations; the last step always has one. 0: only that one."""


def train(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    log: RunLog,
    milestones: Milestones,
    start_step: int = 0,
    max_gradient_norm: float | None = None,
) -> signal.Signals | None:
    """Train `model` in place, on the device it is on, from `start_step` to the schedule's end.

    Args:
        model: `(batch, targets) -> dict of scalar losses`, whose sum is minimised.
        loader: yields the batch of step `start_step + 1` first; it is begun again when it ends.
        optimizer: its groups are given the schedule's rate times their `lr_scale`.
        start_step: steps already taken, by the run that is resumed.
        max_gradient_norm: longer gradients are shortened to it (2-norm over all parameters).

    Returns:
        The signal that ended the training early, after a checkpoint; None when it is complete.

    Raises:
        NumericalError: a loss or the gradient is not finite, or the loss exceeds
            `failure.DIVERGED`. The step is not taken; `failure.json` in the run folder has details.
        DataError: `loader` yields nothing.
        MachineError: out of memory; the state of the last whole step is saved first.
    """
    device = next(model.parameters()).device
    loss_history: deque[float] = deque(maxlen=20)
    saved = start_step
    model.train()
    with stop_on_signals() as stop:
        batches = _endless(loader)
        for step in range(start_step + 1, schedule.iterations + 1):
            began = monotonic()
            following = None if stop else _next_batch(batches, stop)
            if following is None:
                return _leave(stop, step - 1, saved, log=log, save=milestones.save)
            loaded = monotonic()
            batch, targets = following[0].to(device), [each.to(device) for each in following[1]]

            lr = schedule.lr_at(step)
            set_lr(optimizer, lr)
            optimizer.zero_grad()
            with _saving_when_out_of_memory(step, saved, batch, milestones.save):
                losses = model(batch, targets)
                total = torch.stack(list(losses.values())).sum()
                total.backward()
            norm = clip_grad_norm_(model.parameters(), max_gradient_norm or float("inf"))
            loss, gradient_norm = torch.stack([total.detach(), norm]).tolist()  # the only sync
            if not failure.step_is_good(loss, gradient_norm):
                details = failure.report(
                    step,
                    lr=lr,
                    losses=losses,
                    gradient_norm=gradient_norm,
                    batch=batch,
                    targets=targets,
                    before=loss_history,
                )
                log.failure(details)
                raise NumericalError(failure.describe(details))
            optimizer.step()

            loss_history.append(loss)
            seconds = monotonic() - began
            log.step(
                StepRecord(
                    step, lr, loss, losses, gradient_norm, len(batch), loaded - began, seconds
                )
            )
            if _between_steps(model, step, schedule.iterations, milestones):
                saved = step
    return None


def _endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of `loader`, over and over.

    Raises:
        DataError: there are none.
    """
    while True:
        empty = True
        with torch.random.fork_rng(devices=[]):  # DataLoader draws a seed when it begins
            batches = iter(loader)
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise DataError(
                "the training loader yields no batch: the data set is empty, or smaller than one "
                "batch. Check the sets of data.train, or lower train.batch_size."
            )


def _next_batch(batches: Iterator[Batch], stop: StopRequest) -> Batch | None:
    """The next batch; None when the signal that stops us has also killed the data workers."""
    try:
        return next(batches)
    except (RuntimeError, MachineError):
        if stop:
            return None
        raise


def _between_steps(model: nn.Module, step: int, last: int, milestones: Milestones) -> bool:
    """Save and evaluate where due; whether a checkpoint of `step` was kept."""

    def due(every: int) -> bool:
        return step == last or (every > 0 and step % every == 0)

    evaluates = milestones.evaluate is not None and due(milestones.evaluate_every)
    saves = evaluates or due(milestones.save_every)
    if saves:
        milestones.save(step)
    if evaluates and milestones.evaluate is not None:
        milestones.evaluate(step)
        model.train()
        milestones.save(step)
    return saves


def _leave(
    stop: StopRequest, step: int, saved: int, *, log: RunLog, save: Callable[[int], object]
) -> signal.Signals | None:
    """Keep the last step and say how to go on; the signal that asked for it."""
    if step != saved:
        save(step)
    name = stop.signal.name if stop.signal is not None else "a request"
    log.say(
        f"stopped by {name} after step {step}, nothing is lost: "
        "give the same command with --resume to go on"
    )
    return stop.signal


@contextmanager
def _saving_when_out_of_memory(
    step: int, saved: int, batch: ImageBatch, save: Callable[[int], object]
) -> Iterator[None]:
    """Turn a lack of memory in step `step` into a checkpoint of the one before and a remedy."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            raise
        if step - 1 != saved:
            save(step - 1)
        kept = f" Step {step - 1} is saved; --resume goes on from it." if step > 1 else ""
        raise MachineError(
            f"out of memory at step {step} with pictures {', '.join(batch.ids)} in a batch of "
            f"shape {tuple(batch.tensor.shape)}. Lower train.batch_size, "
            f"data.train_short_sides or model.proposer.train_proposals.{kept}"
        ) from error
