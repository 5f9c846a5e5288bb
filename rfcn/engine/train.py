"""The training loop, in reading order."""

import math
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic

import torch
from torch import nn

from rfcn.engine import failure
from rfcn.engine.bundle import torch_rng
from rfcn.engine.failure import Attempt
from rfcn.engine.logging import StepRecord
from rfcn.engine.optimizer import set_lr
from rfcn.engine.quiet_log import Log
from rfcn.engine.schedule import Schedule
from rfcn.engine.signals import StopRequest, stop_on_signals
from rfcn.engine.step import ALONE, Batch, Found, Manner, by_itself, find_gradients, take_step
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
            `failure.DIVERGED`. The step is not taken; the folder `failure` of the run holds it.
            In float16 steps whose gradients alone are not finite are skipped, which is said, and
            only `precision.MOST_SKIPPED` of them in a row are an error.
        DataError: `loader` yields nothing.
        MachineError: out of memory; the state of the last whole step is saved first.
    """
    world = manner.world
    wrapped = world.wrap(model)
    device = next(model.parameters()).device
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
            attempt = Attempt(
                step, lr, pieces, tuple(loss_history), torch_rng(device), manner.precision.autocasts
            )
            explain = partial(_explain, attempt, model, optimizer, manner, log)
            with _kept_when_it_breaks(attempt, saved, milestones.save, explain):
                found = find_gradients(wrapped, optimizer, pieces, manner)
            if found.overflowed and manner.precision.may_skip:
                log.say(f"step {step}: {manner.precision.skip()}")
            elif not found.is_good:
                raise explain(found)
            else:
                take_step(optimizer, manner)

            loss_history.append(found.loss)
            times = loaded - began, monotonic() - began
            log.step(_record(step, lr, found, pieces, times))
            if _between_steps(model, step, schedule.iterations, milestones):
                saved = step
    return None


def _explain(
    attempt: Attempt,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    manner: Manner,
    log: Log,
    found: Found,
) -> NumericalError:
    """The error that ends a run whose step is not to be taken, its numbers being kept."""
    state = manner.precision.state_dict()
    alone = by_itself(manner)
    error = failure.explain(
        attempt,
        found.losses,
        found.gradient_norm,
        model=model,
        again=lambda: find_gradients(model, optimizer, attempt.pieces, alone),
        log=log,
        extra={"precision": state},
    )
    return NumericalError(f"{error}{manner.precision.give_up() if found.overflowed else ''}")


def _record(
    step: int, lr: float, found: Found, pieces: Sequence[Batch], times: tuple[float, float]
) -> StepRecord:
    """A step for the log. times: seconds that it waited for data, and that it took."""
    batch = max((batch for batch, _ in pieces), key=lambda one: one.share)
    images = round(len(batch) / batch.share) if batch.share else 0  # of all processes
    numbers = found.loss, found.losses, found.gradient_norm
    return StepRecord(step, lr, *numbers, images, *times, found.figures)


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
def _kept_when_it_breaks(
    attempt: Attempt,
    saved: int,
    save: Callable[[int], object],
    explain: Callable[[Found], NumericalError],
) -> Iterator[None]:
    """Turn a lack of memory into a checkpoint of the step before and a remedy, and an operator's
    refusal of a bad box into what any step gets whose numbers are lost."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            if not any(True for _ in attempt.bad_boxes()):
                raise
            raise explain(Found(math.nan, {}, math.nan)) from error
        before = attempt.step - 1
        if before != saved:
            save(before)
        kept = f" Step {before} is saved; --resume goes on from it." if before else ""
        raise MachineError(failure.out_of_memory(attempt, kept)) from error
