"""Why a training step went wrong: the numbers of the step, and the likeliest cause in words; kept
in a bundle from which the step can be taken again."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from rfcn.engine.bundle import Batch, FailedStep, restore_torch_rng
from rfcn.engine.quiet_log import Log
from rfcn.engine.tracing import Trace, lost_gradients, lost_weights, some_names, trace
from rfcn.errors import NumericalError
from rfcn.structures import Target

DIVERGED = 1e4
"""A summed loss above this is as lost as an infinite one."""
ROSE = 10
"""A loss so many times that of the steps before it had run away before it was lost."""
HALF_LIMIT = 65504.0
"""The largest float16."""
WIDE = 16
"""An activation within this factor of `HALF_LIMIT` is about to overflow."""


def step_is_good(total: float, gradient_norm: float) -> bool:
    """Whether a step may be taken: both finite, and the loss not run away."""
    return math.isfinite(gradient_norm) and total <= DIVERGED


@dataclass(frozen=True)
class Attempt:
    """A step as it was begun."""

    step: int
    lr: float
    pieces: Sequence[Batch]
    """The batches of the step that this process had."""
    before: Sequence[float]
    """Summed losses of the steps before it, oldest first."""
    rng: Mapping[str, Tensor]
    """The random state it began with (`bundle.torch_rng`)."""
    autocast: str | None = None
    """The dtype of the forward pass where it is not that of the weights: bfloat16, float16."""

    @property
    def pictures(self) -> Iterator[tuple[str, tuple[int, int], tuple[int, int], Target]]:
        """Name, size, size on disk and truth of each picture."""
        for batch, targets in self.pieces:
            yield from zip(batch.ids, batch.sizes, batch.original_sizes, targets, strict=True)

    def bad_boxes(self) -> Iterator[tuple[str, Tensor]]:
        """Name of the picture and box [4], of each that is not finite or has no area."""
        for name, _, _, target in self.pictures:
            boxes = target.boxes
            good = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
            for row in torch.nonzero(~good)[:, 0]:
                yield name, boxes[row]


@dataclass(frozen=True)
class Outcome:
    """What the attempt came to."""

    losses: Mapping[str, Tensor]
    """The terms, as far as there are any."""
    gradient_norm: float
    trace: Trace = field(default_factory=Trace)
    """Of the same step, taken once more."""
    lost_weights: Sequence[str] = ()
    """Parameters that held NaN or infinity before the step."""
    lost_gradients: Sequence[str] = ()
    """Parameters whose gradient does."""


def explain(
    attempt: Attempt,
    losses: Mapping[str, Tensor],
    gradient_norm: float,
    *,
    model: nn.Module,
    again: Callable[[], object],
    log: Log,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> NumericalError:
    """Look into a step that is not to be taken, keep it in the folder of the run, and say it.

    Args:
        losses, gradient_norm: what it came to, as far as it went.
        model: with the weights that the step began with, and the gradients that it found.
        again: takes the gradients once more, in this process by itself.
        extra: see `FailedStep`.
    """
    spoilt = lost_gradients(model)
    poisoned = lost_weights(model)
    device = next(model.parameters()).device
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    restore_torch_rng(attempt.rng, device)
    outcome = Outcome(losses, gradient_norm, trace(model, again), poisoned, spoilt)
    told = report(attempt, outcome)
    failed = FailedStep(attempt.step, attempt.pieces, state, attempt.rng, extra)
    return NumericalError(describe(told, log.failure(told, failed)))


def report(attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
    """Everything known about a failed step, as JSON can hold it (NaN and infinity as words)."""
    return {
        "step": attempt.step,
        "likely_cause": likely_cause(attempt, outcome),
        "lr": attempt.lr,
        "autocast": attempt.autocast,
        "losses": {name: _number(value.item()) for name, value in outcome.losses.items()},
        "gradient_norm": _number(outcome.gradient_norm),
        "losses_before": [_number(value) for value in attempt.before],
        "first_not_finite": outcome.trace.told(),
        "weights_not_finite": list(outcome.lost_weights),
        "gradients_not_finite": list(outcome.lost_gradients),
        "pictures": [
            {
                "id": name,
                "size": list(size),
                "size_on_disk": list(on_disk),
                "seed": target.seed,
                "labels": target.labels.tolist(),
                "boxes": [rounded(box) for box in target.boxes],
            }
            for name, size, on_disk, target in attempt.pictures
        ],
    }


def describe(report: Mapping[str, Any], bundle: str) -> str:
    """The report as the one paragraph a user reads. bundle: where the rest is, in a sentence."""
    terms = ", ".join(f"{name} {value}" for name, value in report["losses"].items())
    first = report["first_not_finite"]["output"]
    where = "" if first is None else f" The first module to give such numbers: {first['module']}."
    return (
        f"training stopped at step {report['step']}: {terms or 'no loss'}, gradient norm "
        f"{report['gradient_norm']}, lr {report['lr']:g}, pictures "
        f"{', '.join(each['id'] for each in report['pictures'])}. "
        f"Likely cause: {report['likely_cause']}.{where} {bundle} "
        "No weights of this step were kept; an earlier checkpoint can be resumed."
    )


def likely_cause(attempt: Attempt, outcome: Outcome) -> str:
    """By rule, the surest first."""
    rules = (_a_poisoned_weight, _a_bad_box, _half_precision, _the_first_step, _the_rate)
    return next(cause for rule in rules if (cause := rule(attempt, outcome)) is not None)


def _a_poisoned_weight(attempt: Attempt, outcome: Outcome) -> str | None:
    if not outcome.lost_weights:
        return None
    return (
        f"the weights were lost before this step: {some_names(list(outcome.lost_weights))} hold "
        "NaN or infinity, from a step that was too long or from the file they were read from; "
        "go on from an earlier checkpoint with a lower train.lr"
    )


def _a_bad_box(attempt: Attempt, outcome: Outcome) -> str | None:
    found = next(attempt.bad_boxes(), None)
    if found is None:
        return None
    name, box = found
    return f"picture {name} has the box {rounded(box)}; check the data (rfcn check-data)"


def _half_precision(attempt: Attempt, outcome: Outcome) -> str | None:
    if attempt.autocast != "float16":
        return None
    seen = outcome.trace
    wide = max((one.largest for one in seen.before(3)), default=0.0) > HALF_LIMIT / WIDE
    only_gradient = seen.output is None and _are_finite(outcome.losses)
    if not wide and not only_gradient and (seen.output is None or seen.output.dtype != "float16"):
        return None
    return (
        f"float16 holds nothing above {HALF_LIMIT:g}, and the "
        f"{'gradient' if only_gradient else 'activations'} went beyond: train in bfloat16 or "
        "float32"
    )


def _the_first_step(attempt: Attempt, outcome: Outcome) -> str | None:
    if attempt.before or attempt.step > 1:
        return None
    return (
        "numbers that are wrong from the first step, so the initial weights or the "
        "normalisation of the pictures (model.pixel_mean, model.pixel_std)"
    )


def _the_rate(attempt: Attempt, outcome: Outcome) -> str:
    pictures = sum(len(batch) for batch, _ in attempt.pieces)
    rose = ""
    known = [value for value in attempt.before if math.isfinite(value)]
    if known and known[-1] > ROSE * min(known):
        rose = f" (the loss had risen from {min(known):.3g} to {known[-1]:.3g} before)"
    if rose or not _are_finite(outcome.losses):
        return (
            f"a learning rate too high for this batch size{rose}: {attempt.lr:g} with {pictures} "
            "pictures here; lower train.lr or warm up longer"
        )
    what = "the gradient" if not math.isfinite(outcome.gradient_norm) else "the loss"
    return f"{what} exploded: lower train.lr, warm up longer or lower train.max_gradient_norm"


def out_of_memory(attempt: Attempt, kept: str) -> str:
    """What to say when the memory was not enough for a step. kept: what was saved, or nothing."""
    sizes = {name: size for name, size, _, _ in attempt.pictures}
    boxes = {name: len(target.labels) for name, _, _, target in attempt.pictures}
    shapes = ", ".join(str(tuple(batch.tensor.shape)) for batch, _ in attempt.pieces)
    largest = max(sizes, key=lambda name: math.prod(sizes[name]))
    return (
        f"out of memory at step {attempt.step} with pictures {', '.join(sizes)} in batches of "
        f"shape {shapes}; the largest is {largest} with {sizes[largest][1]} x {sizes[largest][0]} "
        f"pixels, the most boxes are {max(boxes.values())} of {max(boxes, key=boxes.__getitem__)}. "
        "Raise train.accumulate or lower train.batch_size, lower data.train_short_sides and "
        f"data.max_long_side, or lower model.proposer.train_proposals.{kept}"
    )


def rounded(box: Tensor) -> list[float | str]:
    """A box [4] for people and JSON."""
    return [_number(value) for value in box.tolist()]


def _are_finite(losses: Mapping[str, Tensor]) -> bool:
    return all(math.isfinite(value.item()) for value in losses.values())


def _number(value: float) -> float | str:
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
