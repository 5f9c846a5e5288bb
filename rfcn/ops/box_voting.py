"""Box voting: a kept box moves to where its suppressed neighbours say the object is.

Gidaris and Komodakis, "Object detection via a multi-region & semantic segmentation-aware CNN
model", arXiv 1505.01749, section 5. It reads a list of some thousand boxes once a picture, so one
form in PyTorch serves every device.
"""

import torch
from torch import Tensor

import rfcn.ops.plain.box_voting as plain
from rfcn.ops.checks import check_device, check_scored_boxes, check_threshold

SCORINGS = ("keep", "average", "maximum")


def box_voting(
    boxes: Tensor,
    scores: Tensor,
    kept: Tensor,
    *,
    threshold: float = 0.5,
    groups: Tensor | None = None,
    scoring: str = "keep",
) -> tuple[Tensor, Tensor]:
    """Replaces each kept box by the mean of all boxes near it, weighted by their scores.

    Args:
        boxes: [B, 4] half-open (x1, y1, x2, y2), float32 or float64: all, before any suppression.
        scores: [B] of any floating dtype; a box that is not finite, or whose
            score is NaN or negative, has no vote.
        kept: [K] int64 indices into `boxes`, as `nms` or `soft_nms` returns them.
        threshold: least IoU with the kept box that gives a vote, 0..1. A box votes for itself.
        groups: [B] int64; only boxes of its group vote for a box.
        scoring: the new score: that of the kept box (`keep`, Detectron's ID), or the `average`
            (its AVG) or the `maximum` of the voters'.

    Returns:
        boxes [K, 4] and scores [K], in the order of `kept` and the dtypes given. A box without
        voters, or whose voters all score 0, stays as it is. No gradient passes. Sums are taken in
        float64.

    Raises:
        ValueError: a shape, dtype, device or number does not fit.
    """
    check_scored_boxes(boxes, scores, groups)
    check_threshold("threshold", threshold)
    if kept.dim() != 1 or kept.dtype != torch.int64:
        shape = list(kept.shape)
        raise ValueError(f"kept: must be int64 of shape [K], not {str(kept.dtype)[6:]} {shape}")
    check_device("kept", kept, boxes)
    if scoring not in SCORINGS:
        raise ValueError(f"scoring: must be keep, average or maximum, not {scoring!r}")
    return plain.box_voting(boxes.detach(), scores.detach(), kept, threshold, groups, scoring)
