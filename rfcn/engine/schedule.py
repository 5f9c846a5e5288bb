"""The learning rate as a function of the step, and the same schedule for another batch size."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a constant rate that drops at given steps. Steps count from 1."""

    lr: float
    """Rate after the warm-up."""
    iterations: int
    """The last step."""
    lr_steps: tuple[int, ...] = ()
    """Steps after which the rate is multiplied by `lr_gamma`; increasing."""
    lr_gamma: float = 0.1
    """Factor at each of them."""
    warmup_iterations: int = 0
    """Steps below the full rate."""
    warmup_factor: float = 0.1
    """Share of the rate at the first step."""
    begins_after: int = 0
    """Steps taken before the first, by the stages of a run that came earlier."""

    def lr_at(self, step: int) -> float:
        """The rate of step `step`, begins_after + 1..iterations."""
        rate = self.lr * self.lr_gamma ** bisect_left(self.lr_steps, step)
        done = step - self.begins_after - 1
        if done < self.warmup_iterations:
            rate *= self.warmup_factor + (1 - self.warmup_factor) * done / self.warmup_iterations
        return rate


def one_after_another(schedules: Iterable[Schedule]) -> list[Schedule]:
    """Schedules of their own as the stages of one run: its steps are counted through."""
    found: list[Schedule] = []
    for schedule in schedules:
        taken = found[-1].iterations if found else 0
        found.append(
            replace(
                schedule,
                iterations=taken + schedule.iterations,
                lr_steps=tuple(taken + step for step in schedule.lr_steps),
                begins_after=taken,
            )
        )
    return found


def scaled(schedule: Schedule, from_batch: int, to_batch: int) -> Schedule:
    """The schedule meant for `from_batch` pictures a step, for `to_batch` pictures a step.

    The rate is proportional to the batch and the step counts are inversely so: the same number of
    pictures is seen (linear scaling rule, Goyal et al. 2017, arXiv 1706.02677, section 2.1).
    Counts are rounded to the nearest step; a drop that rounding would push onto the last step, or
    onto the drop before it, falls away.
    """
    if from_batch == to_batch:
        return schedule
    ratio = from_batch / to_batch

    def steps(count: int) -> int:
        return int(count * ratio + 0.5)

    iterations = max(1, steps(schedule.iterations))
    drops = sorted({steps(step) for step in schedule.lr_steps} & set(range(1, iterations)))
    return replace(
        schedule,
        lr=schedule.lr / ratio,
        iterations=iterations,
        lr_steps=tuple(drops),
        warmup_iterations=min(steps(schedule.warmup_iterations), iterations - 1),
    )


def describe_scaling(schedule: Schedule, from_batch: int, to_batch: int) -> str | None:
    """The line a run says when its schedule was scaled; None when nothing changes.

    Args:
        schedule: as written, before scaling.
    """
    if from_batch == to_batch:
        return None
    new = scaled(schedule, from_batch, to_batch)
    return (
        f"schedule scaled from {from_batch} to {to_batch} pictures a step: "
        f"lr {schedule.lr:g} -> {new.lr:g}, "
        f"iterations {schedule.iterations} -> {new.iterations}, "
        f"lr_steps {list(schedule.lr_steps)} -> {list(new.lr_steps)}, "
        f"warm-up {schedule.warmup_iterations} -> {new.warmup_iterations}"
    )
