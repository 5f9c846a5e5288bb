"""COCO's average precision and recall of all classes at once: pure functions of NumPy arrays.

The rules, and where the order of sums matters the order too, are those of COCO's own evaluation
code (pycocotools), so that the figures are equal to the last bit; tests hold them against it.

Legend: D detections and G ground-truth boxes over all pictures, K classes, T = 10 IoU thresholds,
A = 4 ranges of area, M limits of detections, R = 101 recalls, P pairs of a detection and a box.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfcn.evaluation.average_precision import Bools, Floats, Ints

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds that AP is averaged over."""
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
"""The recalls at which precision is read."""
AREAS: Floats = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])
"""[A, 2] square pixels, both ends included: all, small, medium, large."""
NEARLY_ONE = 1 - 1e-10
"""A threshold of 1 is lowered to this, for the sake of rounding."""
COLUMNS = len(AREAS) * len(THRESHOLDS)
"""Range of area and threshold together, A x T: each is matched by itself."""

PAIRS_AT_ONCE = 1 << 19
"""Overlaps computed together: bounds the memory whatever the pictures hold."""

WRONG, RIGHT, IGNORED = range(3)
Verdicts = NDArray[np.int8]


class COCODetections(NamedTuple):
    """Detections of all classes over all pictures."""

    boxes: Floats
    """[D, 4] x, y, width, height."""
    scores: Floats
    """[D]"""
    labels: Ints
    """[D] 0..K-1."""
    pictures: Ints
    """[D] number of the picture each lies in: ties of score are broken by it."""

    def take(self, rows: Bools | Ints) -> "COCODetections":
        """Those of a mask [D] or of a list of indices."""
        return COCODetections(
            self.boxes[rows], self.scores[rows], self.labels[rows], self.pictures[rows]
        )


class COCOTruths(NamedTuple):
    """Ground truth of all classes over all pictures."""

    boxes: Floats
    """[G, 4] x, y, width, height."""
    areas: Floats
    """[G] square pixels of the object itself, at most those of its box."""
    crowd: Bools
    """[G] a region of many objects: not required, and any number of detections may lie in it."""
    labels: Ints
    """[G] 0..K-1."""
    pictures: Ints
    """[G] number of the picture each lies in."""

    def take(self, rows: Bools | Ints) -> "COCOTruths":
        """Those of a mask [G] or of a list of indices."""
        return COCOTruths(
            self.boxes[rows],
            self.areas[rows],
            self.crowd[rows],
            self.labels[rows],
            self.pictures[rows],
        )


class COCOFigures(NamedTuple):
    """What everything else is averaged from; NaN for a class without required boxes."""

    precision: Floats
    """[T, R, K, A] the best precision at a recall or above, with the last limit."""
    scores: Floats
    """[T, R, K, A] of the detection that reaches the recall; 0 where none does."""
    recall: Floats
    """[T, K, A, M] reached with all detections of each limit."""
    required: Ints
    """[K, A] boxes that must be found."""


def coco_figures(
    detections: COCODetections,
    truths: COCOTruths,
    *,
    classes: int,
    max_detections: Sequence[int] = (1, 10, 100),
) -> COCOFigures:
    """Scores all classes by COCO's rules.

    Detections of a class are matched picture by picture by falling score (ties: in the order
    given). Each takes the box that it overlaps most (ties: the last) among those not taken with an
    IoU of at least the threshold; boxes that are ignored, for they are crowds or out of the range
    of area, only when there is no other. It then does not count; nor does an unmatched detection
    whose own area is out of the range. The IoU with a crowd is the share of the detection inside.

    max_detections: M rising numbers of best detections of a picture and class that count; the last
    is that of precision.
    """
    group, ranked = _ranked(detections)
    keep = _rank_in_run(group) < max_detections[-1]
    group, ranked = group[keep], ranked.take(keep)
    rank = _rank_in_run(group)
    ignored = _out_of_range(truths.areas) | truths.crowd[:, None]  # [G, A]
    verdicts = _judge(group, ranked, truths, ignored)
    shape = (len(THRESHOLDS), len(RECALLS), classes, len(AREAS))
    precision, scores = np.full(shape, np.nan), np.full(shape, np.nan)
    recall = np.full((len(THRESHOLDS), classes, len(AREAS), len(max_detections)), np.nan)
    required = np.zeros((classes, len(AREAS)), dtype=np.int64)
    np.add.at(required, truths.labels, ~ignored)
    borders = np.searchsorted(ranked.labels, np.arange(classes + 1))
    for label in np.flatnonzero(required[:, 0] > 0):
        rows = slice(borders[label], borders[label + 1])
        order = np.argsort(-ranked.scores[rows], kind="stable")
        best_first = verdicts[rows][order]
        for area in np.flatnonzero(required[label]):
            columns = slice(area * len(THRESHOLDS), (area + 1) * len(THRESHOLDS))
            precision[:, :, label, area], scores[:, :, label, area] = _read_at_recalls(
                best_first[:, columns], ranked.scores[rows][order], required[label, area]
            )
            right = verdicts[rows, columns] == RIGHT
            for place, limit in enumerate(max_detections):
                found = np.count_nonzero(right[rank[rows] < limit], axis=0)
                recall[:, label, area, place] = found / required[label, area]
    return COCOFigures(precision, scores, recall, required)


def _ranked(detections: COCODetections) -> tuple[Ints, COCODetections]:
    """Detections by class, picture and falling score, and the group (class and picture) of each."""
    group = _groups(detections)
    order = np.lexsort((-detections.scores, group))
    return group[order], detections.take(order)


def _groups(objects: COCODetections | COCOTruths) -> Ints:
    """One number for class and picture together; classes are its upper bits."""
    return (objects.labels << 40) | objects.pictures


def _rank_in_run(values: Ints) -> Ints:
    """0, 1, 2, ... along each run of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    return np.arange(len(values)) - np.repeat(starts, lengths)


def _out_of_range(areas: Floats) -> Bools:
    """[N] -> [N, A]"""
    return (areas[:, None] < AREAS[:, 0]) | (areas[:, None] > AREAS[:, 1])


# --------------------------------------------------------------------------------------- matching


def _judge(group: Ints, ranked: COCODetections, truths: COCOTruths, ignored: Bools) -> Verdicts:
    """[D, A x T]: a verdict on each ranked detection. ignored: [G, A]."""
    outside = _out_of_range(ranked.boxes[:, 2] * ranked.boxes[:, 3])
    verdicts = np.where(outside, IGNORED, WRONG).astype(np.int8)
    verdicts = np.repeat(verdicts, len(THRESHOLDS), axis=1)
    true_group = _groups(truths)
    by_group = np.argsort(true_group, kind="stable")
    first = np.searchsorted(true_group[by_group], group, side="left")
    count = np.searchsorted(true_group[by_group], group, side="right") - first
    for rows in _chunks(group, count):
        pair_row = np.repeat(rows, count[rows])
        pair_truth = by_group[np.repeat(first[rows], count[rows]) + _rank_in_run(pair_row)]
        boxes = ranked.boxes[pair_row], truths.boxes[pair_truth]
        iou = _iou_of_pairs(*boxes, truths.crowd[pair_truth])
        near = np.flatnonzero(iou >= THRESHOLDS[0])
        # best last within a detection, and of equals the later one last
        near = near[np.lexsort((iou[near], pair_row[near]))]
        pairs = _Pairs(pair_row[near], pair_truth[near], iou[near])
        _match(group, pairs, truths.crowd, ignored, verdicts)
    return verdicts


def _chunks(group: Ints, count: Ints) -> Iterator[Ints]:
    """The rows with at least one pair, whole groups together, of about `PAIRS_AT_ONCE` pairs."""
    rows = np.flatnonzero(count)
    chunk = (np.cumsum(count[rows]) - count[rows]) // PAIRS_AT_ONCE
    first_of_group = np.arange(len(rows)) - _rank_in_run(group[rows])
    chunk = chunk[first_of_group]
    return (part for part in np.split(rows, np.flatnonzero(np.diff(chunk)) + 1) if len(part))


def _iou_of_pairs(found: Floats, true: Floats, crowd: Bools) -> Floats:
    """IoU of found[i] with true[i], [P, 4] -> [P]; of a crowd the share of `found` inside it."""
    low = np.maximum(found[:, :2], true[:, :2])
    high = np.minimum(found[:, :2] + found[:, 2:], true[:, :2] + true[:, 2:])
    sides = np.maximum(high - low, 0)
    intersection = sides[:, 0] * sides[:, 1]
    area = found[:, 2] * found[:, 3]
    union = np.where(crowd, area, area + true[:, 2] * true[:, 3] - intersection)
    return np.divide(intersection, union, out=np.zeros_like(union), where=intersection > 0)


class _Pairs(NamedTuple):
    """Pairs that may match, those of a detection together and its best one last."""

    row: Ints
    """[P] the detection."""
    truth: Ints
    """[P]"""
    iou: Floats
    """[P]"""


def _match(group: Ints, pairs: _Pairs, crowd: Bools, ignored: Bools, verdicts: Verdicts) -> None:
    """Lets every detection take its box, the best of each group first: one round for all groups.

    Writes `verdicts` [D, A x T] of the matched. ignored: [G, A].
    """
    detection, first_pair, length = np.unique(pairs.row, return_index=True, return_counts=True)
    turn = _rank_in_run(group[detection])
    boxes, local = np.unique(pairs.truth, return_inverse=True)
    taken = np.zeros((len(boxes), COLUMNS), dtype=np.bool_)
    required = np.repeat(~ignored[boxes], len(THRESHOLDS), axis=1)
    reusable = crowd[boxes]
    enough = np.minimum(THRESHOLDS, NEARLY_ONE)
    rank = _rank_in_run(pairs.row) + 1
    worth = int(rank.max(initial=0)) + 1
    by_turn = np.argsort(turn, kind="stable")
    for mine in np.split(by_turn, np.flatnonzero(np.diff(turn[by_turn])) + 1):
        lengths = length[mine]
        starts = np.cumsum(lengths) - lengths
        pair = np.repeat(first_pair[mine] - starts, lengths) + np.arange(lengths.sum())
        box = local[pair]
        free = np.tile(pairs.iou[pair, None] >= enough, len(AREAS))
        free &= ~taken[box] | reusable[box, None]
        # what is required comes before what is not, then the better overlap
        value = (rank[pair, None] + worth * required[box]) * free
        best = np.maximum.reduceat(value, starts, axis=0) if len(mine) else value
        which, column = np.nonzero(best)
        winner = best[which, column]
        chosen = box[starts[which] + (winner - 1) % worth]
        taken[chosen, column] = True
        verdicts[detection[mine][which], column] = np.where(winner > worth, RIGHT, IGNORED)


# -------------------------------------------------------------------------------------- averaging


def _read_at_recalls(verdicts: Verdicts, scores: Floats, required: int) -> tuple[Floats, Floats]:
    """Precision and score at each recall. verdicts: [D, T], scores: [D], best first -> [T, R]."""
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    reaching = np.zeros_like(precision)
    counted = np.cumsum(verdicts != IGNORED, axis=0)
    for column in range(len(THRESHOLDS)):
        right = np.flatnonzero(verdicts[:, column] == RIGHT)
        found = np.arange(1.0, len(right) + 1)
        # the same tiny number in the same place as in COCO's code, for the last bit
        values = found / (counted[right, column] + np.spacing(1))
        envelope = np.append(np.maximum.accumulate(values[::-1])[::-1], 0)
        first = np.searchsorted(found / required, RECALLS, side="left")
        precision[column] = envelope[first]
        reaching[column] = np.append(scores[right], 0)[first]
    return precision, reaching
