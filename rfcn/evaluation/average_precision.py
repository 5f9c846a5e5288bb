"""Average precision of one class, as PASCAL VOC defines it: pure functions of NumPy arrays.

Legend: D detections and G ground-truth boxes of the class over all pictures, T = the share of
detections that count, in the order of falling score. Source: Everingham et al., "The PASCAL Visual
Object Classes (VOC) Challenge", IJCV 2010, section 4.2, and the development kits of 2007 and 2010.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TENTHS: Floats = np.arange(11, dtype=np.float64) / 10
"""The recalls 0, 0.1, ..., 1 of the 11-point figure, each the float nearest to its tenth."""
DEVKIT_TENTHS: Floats = np.arange(11, dtype=np.float64) * 0.1
"""The same by multiplication, as VOC's tools have them: 3 * 0.1 lies above 0.3, so a recall of
exactly 3/10 misses its point there."""

PAIRS_AT_ONCE = 1 << 21
"""Overlaps computed together: bounds the memory whatever the pictures hold."""


class ClassDetections(NamedTuple):
    """Detections of one class over all pictures."""

    boxes: Floats
    """[D, 4] x1, y1, x2, y2."""
    scores: Floats
    """[D]"""
    pictures: Ints
    """[D] number of the picture each lies in."""

    def take(self, rows: Bools | Ints) -> "ClassDetections":
        """Those of a mask [D] or of a list of indices."""
        return ClassDetections(self.boxes[rows], self.scores[rows], self.pictures[rows])


class ClassTruths(NamedTuple):
    """Ground truth of one class over all pictures."""

    boxes: Floats
    """[G, 4] x1, y1, x2, y2."""
    difficult: Bools
    """[G] not required, and no fault to find."""
    pictures: Ints
    """[G] number of the picture each lies in."""

    def take(self, rows: Bools | Ints) -> "ClassTruths":
        """Those of a mask [G] or of a list of indices."""
        return ClassTruths(self.boxes[rows], self.difficult[rows], self.pictures[rows])


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class at one IoU threshold, and its two averages."""

    iou_threshold: float
    recall: Floats
    """[T] share of the ground truth found by the detections up to each score, non-decreasing."""
    precision: Floats
    """[T] share of those detections that are right."""
    scores: Floats
    """[T] falling."""
    ap: float | None
    """Area under the curve (VOC2010 and later), 0..1; None without ground truth."""
    ap_11pt: float | None
    """Mean precision at 11 recalls (VOC2007), 0..1; None without ground truth."""


def average_precision(
    recall: Floats,
    precision: Floats,
    method: Literal["area", "11-point"] = "area",
    *,
    recall_points: Floats = TENTHS,
) -> float:
    """One number for a curve. recall, precision: [T], recall non-decreasing -> 0..1.

    Both methods first replace each precision by the best at that or a higher recall. `area` sums
    it over all steps of recall; `11-point` averages it over `recall_points` (0 beyond the last
    recall). An empty curve has AP 0.
    """
    if recall.ndim != 1 or recall.shape != precision.shape:
        raise ValueError(
            f"recall and precision must be 1-D and of equal length, not of shapes "
            f"{recall.shape} and {precision.shape}"
        )
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if method == "area":
        steps = np.diff(recall, prepend=0.0)
        return float(np.sum(steps * envelope))
    if method == "11-point":
        first = np.searchsorted(recall, recall_points, side="left")
        return float(np.mean(np.append(envelope, 0.0)[first]))
    raise ValueError(f"method must be 'area' or '11-point', not {method!r}")


def voc_ap(
    detections: ClassDetections,
    truths: ClassTruths,
    *,
    iou_thresholds: Sequence[float] = (0.5,),
    inclusive: bool = False,
    recall_points: Floats = TENTHS,
) -> list[Curve]:
    """The curves of one class, one a threshold (VOC's rules).

    Detections are taken by falling score (ties: in the order given). Each looks at the
    ground-truth box of its picture that it overlaps most (ties: the first), whether that is taken
    or not. With an IoU of at least the threshold it is right the first time, and a false positive
    as a duplicate; on a difficult box it counts neither way. Difficult boxes are not required.

    `inclusive` says that x2 and y2 are the last column and row inside the boxes, so that their
    sides are longer by 1; the default is half-open (`rfcn.boxes`).
    """
    ranked = detections.take(np.argsort(-detections.scores, kind="stable"))
    overlap, nearest = best_overlaps(ranked, truths, inclusive=inclusive)
    required = int(np.count_nonzero(~truths.difficult))
    curves = []
    for threshold in iou_thresholds:
        right, counts = judge(overlap, nearest, truths.difficult, threshold)
        curves.append(
            _curve(threshold, right[counts], ranked.scores[counts], required, recall_points)
        )
    return curves


def best_overlaps(
    detections: ClassDetections, truths: ClassTruths, *, inclusive: bool = False
) -> tuple[Floats, Ints]:
    """For each detection the largest IoU with a ground-truth box of its picture, and which box.

    -> [D] IoU in 0..1 and [D] index into `truths` (-1, with IoU 0, where the picture has none).
    """
    overlap = np.zeros(len(detections.scores))
    nearest = np.full(len(detections.scores), -1, dtype=np.int64)
    for pairs in pairs_in_pictures(detections, truths, inclusive=inclusive):
        rows, first_pair = np.unique(pairs.detections, return_index=True)
        overlap[rows] = np.maximum.reduceat(pairs.iou, first_pair)
        best_pair = np.flatnonzero(pairs.iou == overlap[pairs.detections])
        _, first_best = np.unique(pairs.detections[best_pair], return_index=True)
        nearest[rows] = pairs.truths[best_pair[first_best]]
    return overlap, nearest


class Pairs(NamedTuple):
    """Detections beside ground-truth boxes of their picture: N pairs, in order of detections."""

    detections: Ints
    """[N] index of the detection, non-decreasing."""
    truths: Ints
    """[N] index of the ground-truth box, in the order given within a detection."""
    iou: Floats
    """[N] their IoU."""

    def take(self, rows: Bools | Ints) -> "Pairs":
        """Those of a mask [N] or of a list of indices."""
        return Pairs(self.detections[rows], self.truths[rows], self.iou[rows])


def pairs_in_pictures(
    detections: ClassDetections, truths: ClassTruths, *, inclusive: bool = False
) -> Iterator[Pairs]:
    """Every detection with every ground-truth box of its picture, in parts of bounded size."""
    by_picture = np.argsort(truths.pictures, kind="stable")
    pictures = truths.pictures[by_picture]
    start = np.searchsorted(pictures, detections.pictures, side="left")
    count = np.searchsorted(pictures, detections.pictures, side="right") - start
    for rows in _chunks(count):
        pair_row = np.repeat(rows, count[rows])
        first_pair = np.cumsum(count[rows]) - count[rows]
        within = np.arange(len(pair_row)) - np.repeat(first_pair, count[rows])
        pair_truth = by_picture[start[pair_row] + within]
        boxes = detections.boxes[pair_row], truths.boxes[pair_truth]
        yield Pairs(pair_row, pair_truth, _iou_of_pairs(*boxes, inclusive))


def _chunks(count: Ints) -> Iterator[Ints]:
    """The rows with at least one pair, in groups of about `PAIRS_AT_ONCE` pairs (or one row)."""
    rows = np.flatnonzero(count)
    group = (np.cumsum(count[rows]) - count[rows]) // PAIRS_AT_ONCE
    borders = np.flatnonzero(np.diff(group)) + 1
    return (chunk for chunk in np.split(rows, borders) if len(chunk))


def _iou_of_pairs(a: Floats, b: Floats, inclusive: bool) -> Floats:
    """IoU of a[i] with b[i]. a, b: [P, 4] -> [P]; two empty boxes have IoU 0."""
    extra = 1.0 if inclusive else 0.0
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + extra, 0)
    intersection = sides[:, 0] * sides[:, 1]
    area_a = (a[:, 2] - a[:, 0] + extra) * (a[:, 3] - a[:, 1] + extra)
    area_b = (b[:, 2] - b[:, 0] + extra) * (b[:, 3] - b[:, 1] + extra)
    union = area_a + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def judge(
    overlap: Floats, nearest: Ints, difficult: Bools, threshold: float
) -> tuple[Bools, Bools]:
    """Which ranked detections are right, and which count at all: two masks [D].

    overlap, nearest: [D], as of `best_overlaps`, by falling score; difficult: [G].
    """
    hit = (overlap >= threshold) & (nearest >= 0)
    counts = np.ones(len(hit), dtype=np.bool_)
    counts[hit] = ~difficult[nearest[hit]]
    candidates = np.flatnonzero(hit & counts)
    _, first = np.unique(nearest[candidates], return_index=True)
    right = np.zeros(len(hit), dtype=np.bool_)
    right[candidates[first]] = True
    return right, counts


def _curve(
    threshold: float, right: Bools, scores: Floats, required: int, recall_points: Floats
) -> Curve:
    if required == 0:
        nothing = np.zeros(0)
        return Curve(threshold, nothing, nothing, nothing, None, None)
    true_positives = np.cumsum(right)
    recall = true_positives / required
    precision = true_positives / np.arange(1, len(right) + 1)
    area = average_precision(recall, precision, "area")
    eleven = average_precision(recall, precision, "11-point", recall_points=recall_points)
    return Curve(threshold, recall, precision, scores, area, eleven)
