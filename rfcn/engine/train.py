"""The training loop, in reading order."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import torch
from torch import nn

from rfcn.engine import failure
from rfcn.engine.logging import StepRecord
from rfcn.engine.optimizer import set_lr
from rfcn.engine.quiet_log import Log
from rfcn.engine.schedule import Schedule
from rfcn.engine.signals import StopRequest, stop_on_signals
from rfcn.engine.step import ALONE, Batch, Found, Manner, find_gradients, take_step
from rfcn.errors import DataError, MachineError, NumericalError


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
    log: Log,
    milestones: Milestones,
    start_step: int = 0,
    manner: Manner = ALONE,
) -> signal.Signals | None:
    """Train `model` in place, on the device it is on, from `start_step` to the schedule's end.

    Args:
        model: `(batch, targets) -> dict of scalar losses`, each the mean over the pictures of the
            batch. The sum of all is minimised, batches weighing as their `share` of a step says.
        loader: yields the batches of step `start_step + 1` first; it is begun again when it ends.
        optimizer: its groups are given the schedule's rate times their `lr_scale`.
        start_step: steps already taken, by the run that is resumed.

    Returns:
        The signal that ended the training early, after a checkpoint; None when it is complete.

    Raises:
        NumericalError: a loss or the gradient is not finite, or the loss exceeds
            `failure.DIVERGED`. The step is not taken; `failure.json` in the run folder has details.
            In float16 steps whose gradients alone are not finite are skipped, which is said, and
            only `precision.MOST_SKIPPED` of them in a row are an error.
        DataError: `loader` yields nothing.
        MachineError: out of memory; the state of the last whole step is saved first.
    """
    world = manner.world
    wrapped = world.wrap(model)
    loss_history: deque[float] = deque(maxlen=20)
    saved = start_step
    model.train()
    with stop_on_signals() as stop:
        batches = _endless(loader)
        for step in range(start_step + 1, schedule.iterations + 1):
            began = monotonic()
            ending = world.most(stop.signal or 0)
            pieces = [] if ending else _next_batches(batches, manner.pieces, stop)
            if not pieces:
                sent = signal.Signals(ending) if ending else stop.signal
                return _leave(sent, step - 1, saved, log=log, save=milestones.save)
            loaded = monotonic()

            lr = schedule.lr_at(step)
            set_lr(optimizer, lr)
            with _saving_when_out_of_memory(step, saved, pieces, milestones.save):
                found = find_gradients(wrapped, optimizer, pieces, manner)
            if found.overflowed and manner.precision.may_skip:
                log.say(f"step {step}: {manner.precision.skip()}")
            elif not found.is_good:
                why = manner.precision.give_up() if found.overflowed else ""
                raise _lost(step, lr, found, pieces, loss_history, log=log, why=why)
            else:
                take_step(optimizer, manner)

            loss_history.append(found.loss)
            times = loaded - began, monotonic() - began
            log.step(_record(step, lr, found, pieces, times))
            if _between_steps(model, step, schedule.iterations, milestones):
                saved = step
    return None


def _lost(
    step: int,
    lr: float,
    found: Found,
    pieces: Sequence[Batch],
    before: Sequence[float],
    *,
    log: Log,
    why: str,
) -> NumericalError:
    """The error that ends a run whose step is not to be taken, its numbers being kept."""
    details = failure.report(
        step,
        lr=lr,
        losses=found.losses,
        gradient_norm=found.gradient_norm,
        pieces=pieces,
        before=before,
    )
    log.failure(details)
    return NumericalError(failure.describe(details) + why)


def _record(
    step: int, lr: float, found: Found, pieces: Sequence[Batch], times: tuple[float, float]
) -> StepRecord:
    """A step for the log. times: seconds that it waited for data, and that it took."""
    images = sum(len(batch) for batch, _ in pieces)
    return StepRecord(step, lr, found.loss, found.losses, found.gradient_norm, images, *times)


def _endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of `loader`, over and over.

    Raises:
        DataError: there are none.
    """
    while True:
        # A DataLoader draws a seed when it begins, some only with their first batch. A run that is
        # resumed begins once more: dropout must draw there what it would have drawn.
        with torch.random.fork_rng(devices=[]):
            batches = iter(loader)
            first = next(batches, None)
        if first is not None:
            yield first
            yield from batches
        else:
            raise DataError(
                "the training loader yields no batch: the data set is empty, or smaller than one "
                "batch. Check the sets of data.train, or lower train.batch_size."
            )


def _next_batches(batches: Iterator[Batch], count: int, stop: StopRequest) -> list[Batch]:
    """The next so many; none when the signal that stops us has also killed the data workers, of
    which the queue between us tells by errors of many kinds."""
    try:
        return [next(batches) for _ in range(count)]
    except DataError:  # a fault of the user's files is told, whatever else goes on
        raise
    except Exception:
        if stop:
            return []
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
    sent: signal.Signals | None,
    step: int,
    saved: int,
    *,
    log: Log,
    save: Callable[[int], object],
) -> signal.Signals | None:
    """Keep the last step and say how to go on; the signal that asked for it."""
    if step != saved:
        save(step)
    name = "a request" if sent is None else sent.name
    log.say(
        f"stopped by {name} after step {step}, nothing is lost: "
        "give the same command with --resume to go on"
    )
    return sent


@contextmanager
def _saving_when_out_of_memory(
    step: int, saved: int, pieces: Sequence[Batch], save: Callable[[int], object]
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
        ids = ", ".join(name for batch, _ in pieces for name in batch.ids)
        shape = tuple(max(pieces, key=lambda piece: piece[0].tensor.numel())[0].tensor.shape)
        raise MachineError(
            f"out of memory at step {step} with pictures {ids} in a batch of shape {shape}. Lower "
            f"train.batch_size, raise train.pieces, or lower data.train_short_sides or "
            f"model.proposer.train_proposals.{kept}"
        ) from error
