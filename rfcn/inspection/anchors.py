"""How well anchors cover boxes, in closed form, and scales and ratios that would cover them better.

Legend: N boxes, A anchors a cell.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rfcn.datasets.survey_objects import Objects
from rfcn.datasets.transforms import fitted_size
from rfcn.models.anchors import base_anchors

SCALES = (0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
RATIOS = (0.33, 0.5, 0.67, 1, 1.5, 2, 3)
"""What suggestions are made of."""
_LEAST_GAIN = 1e-3
"""Of the mean IoU, by a scale that is worth having."""
_SAMPLE = 4000
"""Boxes a suggestion is fitted to."""


@dataclass(frozen=True)
class Resized:
    """Boxes at the size the network sees."""

    boxes: np.ndarray
    """[N, 4] float32, in pixels of the resized picture."""
    sizes: np.ndarray
    """[N, 2] int64, (height, width) of the resized picture of each box."""

    @property
    def sides(self) -> np.ndarray:
        """[N] the square root of each box's area, in pixels."""
        return np.sqrt(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1))


def resized(objects: Objects, *, short_side: int, max_long_side: int) -> Resized:
    """The boxes as training would resize them."""
    sizes = [
        fitted_size((int(h), int(w)), short_side=short_side, max_long_side=max_long_side)
        for h, w in objects.sizes
    ]
    fitted = np.array(sizes, dtype=np.int64).reshape(-1, 2)[objects.picture]
    before = objects.sizes[objects.picture]
    scale = (fitted / before)[:, [1, 0, 1, 0]] if len(objects) else np.zeros((0, 4))
    return Resized((objects.boxes * scale).astype(np.float32), fitted)


def best_overlaps(these: Resized, base: np.ndarray, stride: int) -> np.ndarray:
    """[N, A] the highest IoU that each box reaches with each anchor shape, anywhere on the grid.

    As in training, an anchor counts only where it lies within the picture whole (Faster R-CNN,
    section 3.1.3); a shape that fits nowhere has IoU 0. base: [A, 4], the anchors of the cell at
    the origin; stride: pixels a cell.

    No grid is needed: along each axis the overlap of two intervals can only shrink as their centres
    part, so the best cell is the one nearest to the box's centre of those where the anchor fits,
    and the two axes do not depend on each other.
    """
    width = _best_overlap_along(these, base, stride, axis=0)
    height = _best_overlap_along(these, base, stride, axis=1)
    inside = width * height
    area = np.prod(these.boxes[:, 2:] - these.boxes[:, :2], axis=1)[:, None]
    area_of_base = np.prod(base[:, 2:] - base[:, :2], axis=1)[None]
    return inside / np.maximum(area + area_of_base - inside, 1e-12)


def _best_overlap_along(these: Resized, base: np.ndarray, stride: int, axis: int) -> np.ndarray:
    """[N, A] pixels along x (axis 0) or y (axis 1); 0 where the anchor fits nowhere."""
    low, high = these.boxes[:, axis, None], these.boxes[:, axis + 2, None]  # [N, 1]
    low_of_base, high_of_base = base[None, :, axis], base[None, :, axis + 2]  # [1, A]
    limit = these.sizes[:, 1 - axis, None]
    first = np.maximum(np.ceil(-low_of_base / stride), 0)
    last = np.floor((limit - high_of_base) / stride)
    wanted = np.rint((low + high - low_of_base - high_of_base) / (2 * stride))
    shift = np.clip(wanted, first, np.maximum(last, first)) * stride
    overlap = np.minimum(high, high_of_base + shift) - np.maximum(low, low_of_base + shift)
    return np.where(last >= first, np.maximum(overlap, 0), 0)


@dataclass(frozen=True)
class Anchors:
    """The anchors of a config."""

    base_size: float
    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    stride: int

    def base(self) -> np.ndarray:
        """[A, 4] of the cell at the origin, float32."""
        return base_anchors(self.base_size, self.scales, self.ratios).numpy()

    def overlaps(self, these: Resized) -> np.ndarray:
        """[N] the highest IoU each box reaches with any anchor."""
        return best_overlaps(these, self.base(), self.stride).max(axis=1)


def better_anchors(these: Resized, now: Anchors, *, scales: int, enough: float) -> Anchors:
    """At most so many of `SCALES`, and as many of `RATIOS` as now, that cover the boxes best.

    What counts is the mean of the boxes' best IoU, up to `enough` (the RPN's positive_iou). For
    every choice of ratios the scales are added one by one, each the one that gains most (greedy
    coverage), on at most 4,000 boxes spread over the set.
    """
    rows = np.linspace(0, len(these.boxes) - 1, min(len(these.boxes), _SAMPLE)).astype(int)
    some = Resized(these.boxes[rows], these.sizes[rows])
    base = base_anchors(now.base_size, SCALES, RATIOS).numpy()
    reached = np.minimum(best_overlaps(some, base, now.stride), enough)
    reached = reached.reshape(len(rows), len(RATIOS), len(SCALES))
    count = min(scales, len(SCALES))
    best_score, best = -1.0, now
    for places in combinations(range(len(RATIOS)), min(len(now.ratios), len(RATIOS))):
        chosen, score = _greedy_scales(reached[:, places].max(axis=1), count)
        if score > best_score:
            best_score = score
            best = Anchors(
                now.base_size,
                tuple(sorted(SCALES[i] for i in chosen)),
                tuple(RATIOS[i] for i in places),
                now.stride,
            )
    return best


def _greedy_scales(reached: np.ndarray, count: int) -> tuple[list[int], float]:
    """The columns of [N, S] whose row-wise highest value is largest in the mean, and that mean."""
    chosen: list[int] = []
    highest = np.zeros(len(reached))
    for _ in range(count):
        means = np.maximum(reached, highest[:, None]).mean(axis=0)
        if means.max() < highest.mean() + _LEAST_GAIN:
            break
        chosen.append(int(means.argmax()))
        highest = np.maximum(highest, reached[:, chosen[-1]])
    return chosen, float(highest.mean())


def share(overlaps: np.ndarray, threshold: float) -> float | None:
    """The share of boxes that reach an IoU; None of none."""
    return float((overlaps >= threshold).mean()) if len(overlaps) else None
