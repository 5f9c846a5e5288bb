"""Why a training step went wrong: the numbers of the step, and the likeliest cause in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rfcn.structures import ImageBatch, Target

DIVERGED = 1e4
"""A summed loss above this is as lost as an infinite one."""


def step_is_good(total: float, gradient_norm: float) -> bool:
    """Whether a step may be taken: both finite, and the loss not run away."""
    return math.isfinite(gradient_norm) and total <= DIVERGED


def report(
    step: int,
    *,
    lr: float,
    losses: Mapping[str, Tensor],
    gradient_norm: float,
    pieces: Sequence[tuple[ImageBatch, list[Target]]],
    before: Sequence[float],
) -> dict[str, Any]:
    """Everything known about a failed step, as JSON can hold it (NaN and infinity as words).

    Args:
        pieces: the batches of the step that this process had.
        before: summed losses of the steps before it, oldest first.
    """
    pictures = [
        (name, size, target)
        for batch, targets in pieces
        for name, size, target in zip(batch.ids, batch.sizes, targets, strict=True)
    ]
    return {
        "step": step,
        "lr": lr,
        "losses": {name: _number(value.item()) for name, value in losses.items()},
        "gradient_norm": _number(gradient_norm),
        "ids": [name for name, _, _ in pictures],
        "sizes": [list(size) for _, size, _ in pictures],
        "boxes": [_rows(target.boxes) for _, _, target in pictures],
        "labels": [target.labels.tolist() for _, _, target in pictures],
        "losses_before": [_number(value) for value in before],
        "likely_cause": _likely_cause(
            step, losses, gradient_norm, {name: target.boxes for name, _, target in pictures}
        ),
    }


def describe(report: Mapping[str, Any]) -> str:
    """The report as the one paragraph a user reads."""
    terms = ", ".join(f"{name} {value}" for name, value in report["losses"].items())
    return (
        f"training stopped at step {report['step']}: {terms}, gradient norm "
        f"{report['gradient_norm']}, lr {report['lr']:g}, pictures {', '.join(report['ids'])}. "
        f"Likely cause: {report['likely_cause']}. "
        "No weights of this step were kept; an earlier checkpoint can be resumed."
    )


def _likely_cause(
    step: int,
    losses: Mapping[str, Tensor],
    gradient_norm: float,
    boxes: Mapping[str, Tensor],
) -> str:
    for name, of_picture in boxes.items():
        bad = _bad_box(of_picture)
        if bad is not None:
            return f"picture {name} has the box {_rows(bad[None])[0]}; check the data"
    if step == 1:
        return (
            "numbers that are wrong from the first step, so the initial weights or the "
            "normalisation of the pictures (model.pixel_mean, model.pixel_std)"
        )
    if all(math.isfinite(value.item()) for value in losses.values()):
        what = "the gradient" if not math.isfinite(gradient_norm) else "the loss"
        return f"{what} exploded: lower train.lr, warm up longer or lower train.max_gradient_norm"
    return "a learning rate too high for this batch size: lower train.lr or warm up longer"


def _bad_box(boxes: Tensor) -> Tensor | None:
    """The first box that is not finite or has no area."""
    good = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    return None if bool(good.all()) else boxes[torch.nonzero(~good)[0, 0]]


def _rows(boxes: Tensor) -> list[list[float | str]]:
    return [[_number(value) for value in row] for row in boxes.tolist()]


def _number(value: float) -> float | str:
    return round(value, 4) if math.isfinite(value) else str(value)
