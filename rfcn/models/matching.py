"""Assignment: which ground-truth box an anchor or a RoI stands for.

Legend: K anchors, P boxes, G ground-truth boxes of one picture.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from rfcn.boxes import iou

IGNORED = -1
"""Label of an anchor that takes no part in the loss."""

PAIRS_AT_ONCE = 1 << 22
"""Overlaps computed together, about 150 MB while they are: a picture of 5,000 objects would need
gigabytes at once."""


def match_anchors(
    anchors: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    positive_iou: float,
    negative_iou: float,
) -> tuple[Tensor, Tensor]:
    """RPN labels of the anchors of one picture (Faster R-CNN, section 3.1.2; py-R-FCN).

    An anchor that leaves the picture is ignored. Of the others, those with IoU >= positive_iou,
    and for every box all those that overlap it best, are positive; those whose best IoU is below
    negative_iou and that are not positive are negative; the rest is ignored. Unlike the released
    code, a box that no anchor touches makes no anchor positive.

    Args:
        anchors: [K, 4]. boxes: [G, 4]. size: (height, width) of the picture.

    Returns:
        labels [K] int64 in {1, 0, IGNORED}, and the best box of each anchor [K] int64
        (meaningful where the label is 1).
    """
    height, width = size
    labels = anchors.new_full((anchors.shape[0],), IGNORED, dtype=torch.int64)
    matched = torch.zeros_like(labels)
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    if boxes.shape[0] == 0:
        labels[inside] = 0
        return labels, matched
    best = anchors.new_zeros(anchors.shape[0])
    is_best = torch.zeros_like(inside)
    best_of_box = anchors.new_zeros(boxes.shape[0])
    for rows in _portions(anchors, boxes):
        overlaps = iou(anchors[rows], boxes) * inside[rows, None]  # [K', G]
        best[rows], matched[rows] = overlaps.max(dim=1)
        best_of_box = torch.maximum(best_of_box, overlaps.max(dim=0).values)
    for rows in _portions(anchors, boxes):
        if overlaps.shape[0] < anchors.shape[0]:  # not all of them are still there
            overlaps = iou(anchors[rows], boxes) * inside[rows, None]
        is_best[rows] = ((overlaps == best_of_box) & (best_of_box > 0)).any(dim=1)
    labels[inside & (best < negative_iou)] = 0
    labels[inside & ((best >= positive_iou) | is_best)] = 1
    return labels, matched


def match_rois(rois: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ground-truth box each RoI overlaps most.

    Args:
        rois: [P, 4]. boxes: [G, 4]. labels: [G] int64.

    Returns:
        best IoU [P], index of that box [P] int64 and its label [P] int64; without boxes all zero.
    """
    if boxes.shape[0] == 0:
        nothing = labels.new_zeros(rois.shape[0])
        return rois.new_zeros(rois.shape[0]), nothing, nothing
    best, matched = rois.new_zeros(rois.shape[0]), labels.new_zeros(rois.shape[0])
    for rows in _portions(rois, boxes):
        best[rows], matched[rows] = iou(rois[rows], boxes).max(dim=1)
    return best, matched, labels[matched]


def _portions(these: Tensor, boxes: Tensor) -> Iterator[slice]:
    """Rows of `these` whose overlaps with all boxes may be computed together."""
    count = max(1, PAIRS_AT_ONCE // max(1, boxes.shape[0]))
    return (slice(start, start + count) for start in range(0, these.shape[0], count))
