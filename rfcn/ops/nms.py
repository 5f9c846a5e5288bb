"""Greedy non-maximum suppression, with groups and an early end."""

import torch
from torch import Tensor

import rfcn.ops.library as library
import rfcn.ops.plain.nms as plain
from rfcn.ops.checks import check_limit, check_scored_boxes, check_threshold


def nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    *,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> Tensor:
    """Keeps each box that overlaps no better kept box of its group by more than `threshold`.

    Args:
        boxes: [B, 4] half-open (x1, y1, x2, y2), float32 or float64.
        scores: [B] of any floating dtype. Equal scores: the lower index first. A box whose score
            is NaN is never kept.
        threshold: largest IoU that is let live, 0..1; IoU of two empty boxes is 0.
        groups: [B] int64; boxes of different groups never suppress each other (the classes).
        limit: stop when so many are kept, all groups together.

    Returns:
        [K] int64 indices into `boxes`, best score first. No gradient passes.

    Raises:
        ValueError: a shape, dtype, device, the threshold or the limit does not fit.
    """
    check_scored_boxes(boxes, scores, groups)
    check_threshold("threshold", threshold)
    check_limit(limit)
    known = ~scores.isnan()
    # Runtimes of exported graphs do not agree on where a NaN is sorted to.
    keys = torch.where(known, scores.detach(), -torch.inf)
    order = torch.sort(keys, descending=True, stable=True).indices
    order = order.masked_select(known.index_select(0, order))
    ranked = boxes.detach().index_select(0, order)
    ranked_groups = None if groups is None else groups.index_select(0, order)
    most = -1 if limit is None else limit  # not len(order), which a trace does not know
    if library.is_compiled("nms", boxes.device):
        keep = torch.ops.rfcn.nms(ranked, ranked_groups, float(threshold), most)
    else:
        keep = plain.nms(ranked, ranked_groups, float(threshold), most)
    return order.masked_select(keep)


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    *,
    limit: int | None = None,
) -> Tensor:
    """`nms` within each group, the arguments in torchvision's order.

    The groups are compared, not the boxes shifted apart: no coordinate is rounded, and one pass
    serves all groups.
    """
    return nms(boxes, scores, threshold, groups=groups, limit=limit)


def _fake(boxes: Tensor, groups: Tensor | None, threshold: float, limit: int) -> Tensor:
    """[B] bool: which of the boxes, best first, are kept."""
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


if library.declared("nms"):
    torch.library.register_fake("rfcn::nms", _fake)
