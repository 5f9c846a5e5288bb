"""THE box convention, and the few operations on boxes that everything else shares.

A box is (x1, y1, x2, y2) in pixels, float32, 0-based and half-open: x2 and y2 are the first column
and row that no longer belong to it, so width = x2 - x1, and the whole picture is (0, 0, W, H).
Only `to_rois` leaves the convention, for operators whose published form takes inclusive corners.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOG_MAX_GROWTH = math.log(1000 / 16)
"""Largest predicted log growth of a side: keeps exp() finite (the clamp of Detectron)."""


def area(boxes: Tensor) -> Tensor:
    """Areas in square pixels. boxes: [..., 4] -> [...]; a reversed box has area 0."""
    width = (boxes[..., 2] - boxes[..., 0]).clamp(min=0)
    height = (boxes[..., 3] - boxes[..., 1]).clamp(min=0)
    return width * height


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair. a: [A, 4], b: [B, 4] -> [A, B] in 0..1.

    Two empty boxes have IoU 0, never NaN.
    """
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-12), 0.0)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut to a picture. boxes: [..., 4], size: (height, width) -> [..., 4]."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limits)


def rescale(boxes: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """Boxes of a picture of `from_size` in the pixels of the same picture at `to_size`.

    boxes: [..., 4]; sizes: (height, width). The two axes scale separately, since a resized side is
    rounded to whole pixels.
    """
    y = to_size[0] / from_size[0]
    x = to_size[1] / from_size[1]
    return boxes * boxes.new_tensor([x, y, x, y])


def mirror(boxes: Tensor, width: float) -> Tensor:
    """Boxes in a picture mirrored left to right: an edge at x moves to width - x.

    boxes: [..., 4]; width of the picture in pixels.
    """
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


def encode(boxes: Tensor, anchors: Tensor, std: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """Offsets (dx, dy, dw, dh) / std that turn `anchors` into `boxes` (Fast R-CNN, section 2.3).

    boxes, anchors: [..., 4] with positive sides -> [..., 4].
    dx = (cx - cx_a) / w_a, dw = log(w / w_a), and the same for y and h.
    """
    sides_a = anchors[..., 2:] - anchors[..., :2]
    sides = boxes[..., 2:] - boxes[..., :2]
    centres_a = anchors[..., :2] + 0.5 * sides_a
    centres = boxes[..., :2] + 0.5 * sides
    offsets = torch.cat([(centres - centres_a) / sides_a, torch.log(sides / sides_a)], dim=-1)
    return offsets / offsets.new_tensor(std)


def decode(deltas: Tensor, anchors: Tensor, std: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """The inverse of `encode`. deltas: [..., 4], anchors broadcastable to it -> boxes [..., 4].

    The log growth of a side is clamped to `LOG_MAX_GROWTH`, so that a wild prediction stays finite.
    """
    offsets = deltas * deltas.new_tensor(std)
    sides_a = anchors[..., 2:] - anchors[..., :2]
    centres_a = anchors[..., :2] + 0.5 * sides_a
    centres = offsets[..., :2] * sides_a + centres_a
    half_sides = 0.5 * sides_a * torch.exp(offsets[..., 2:].clamp(max=LOG_MAX_GROWTH))
    return torch.cat([centres - half_sides, centres + half_sides], dim=-1)


def to_rois(boxes: Sequence[Tensor], *, inclusive: bool = False) -> Tensor:
    """The RoI rows of a batch: (picture index, x1, y1, x2, y2).

    boxes: N tensors [P_i, 4] -> [sum P_i, 5] float32. With `inclusive`, x2 and y2 are the last
    column and row inside the box: what the released R-FCN operator takes (`msra` semantics).
    """
    rows = [
        torch.cat([one.new_full((one.shape[0], 1), index), one], dim=1)
        for index, one in enumerate(boxes)
    ]
    rois = torch.cat(rows).float()
    if inclusive:
        rois[:, 3:] -= 1
    return rois
