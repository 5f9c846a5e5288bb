"""Soft-NMS: neighbours of a better box keep a lower score instead of being removed.

Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", arXiv 1704.04503.
"""

import math

import torch
from torch import Tensor

import rfcn.ops.library as library
import rfcn.ops.plain.soft_nms as plain
from rfcn.ops.checks import check_limit, check_scored_boxes, check_threshold

METHODS = ("linear", "gaussian")
"""How scores fall; the schema carries the place in this list."""


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    method: str = "linear",
    threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Takes the best box, lowers the scores of those it overlaps, takes the next best, and so on.

    Args:
        boxes: [B, 4] half-open (x1, y1, x2, y2), float32 or float64.
        scores: [B] of any floating dtype, 0 or more. Equal scores: the lower index first. A box
            whose score is NaN is never taken.
        method: `linear`: a score falls to s * (1 - IoU) where the IoU is above `threshold`;
            `gaussian`: to s * exp(-IoU^2 / sigma) wherever boxes overlap.
        threshold: largest IoU that costs nothing, 0..1; `linear` alone reads it.
        sigma: how far the gaussian reaches, above 0; it alone reads it.
        score_threshold: a box whose score is or falls below is dropped, 0 or more.
        groups: [B] int64; boxes of different groups do not touch each other's scores.
        limit: stop when so many are taken, all groups together.

    Returns:
        indices [K] int64 into `boxes` in the order in which they were taken, which is that of their
        new scores [K], in the dtype of `scores`. No gradient passes. Computed in float32, or in
        float64 where boxes or scores are.

    Raises:
        ValueError: a shape, dtype, device or number does not fit.
    """
    check_scored_boxes(boxes, scores, groups)
    check_threshold("threshold", threshold)
    check_limit(limit)
    if method not in METHODS:
        raise ValueError(f"method: must be linear or gaussian, not {method!r}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: must be a positive number, not {sigma}")
    if not 0 <= score_threshold < math.inf:
        raise ValueError(f"score_threshold: must be 0 or more, not {score_threshold}")
    dtype = torch.promote_types(boxes.dtype, torch.promote_types(scores.dtype, torch.float32))
    rows, values = boxes.detach().to(dtype), scores.detach().to(dtype)
    numbers = (METHODS.index(method), threshold, sigma, score_threshold)
    rescored = _rescored(rows, values, groups, numbers, -1 if limit is None else limit)
    best, order = rescored.sort(descending=True, stable=True)
    taken = best > -torch.inf
    indices, found = order.masked_select(taken), best.masked_select(taken).to(scores.dtype)
    return indices[:limit], found[:limit]


def _rescored(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    numbers: tuple[int, float, float, float],
    limit: int,
) -> Tensor:
    """[B]: the score with which each box is taken, or -inf. The limit is one of each group."""
    if not library.is_compiled("soft_nms", boxes.device):
        return plain.soft_nms(boxes, scores, groups, *numbers, limit)
    call = torch.ops.rfcn.soft_nms
    if groups is None:
        return call(boxes.contiguous(), scores.contiguous(), None, *numbers, limit)
    # The kernels want the boxes of a group side by side, in their order.
    groups, order = groups.sort(stable=True)
    rows, values = boxes.index_select(0, order), scores.index_select(0, order)
    return torch.empty_like(values).scatter(0, order, call(rows, values, groups, *numbers, limit))


def _fake(boxes, scores, groups, decay, *numbers):  # type: ignore[no-untyped-def]
    """[B]: the score with which each box is taken, or -inf."""
    return torch.empty_like(scores)


if library.declared("soft_nms"):
    torch.library.register_fake("rfcn::soft_nms", _fake)
