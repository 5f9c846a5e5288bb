"""Which class is taken for which: the confusion matrix of a detector, background included."""

from dataclasses import dataclass

import numpy as np

from rfcn.evaluation.average_precision import Bools, Ints, Pairs, pairs_in_pictures
from rfcn.evaluation.scored import Scored, Verdicts

BACKGROUND = 0


@dataclass(frozen=True)
class Confusion:
    """How often an object of one class was found as another."""

    score_threshold: float
    iou_threshold: float
    counts: Ints
    """[C+1, C+1]: rows are what is true, columns what was found, index 0 is background.
    counts[0, d] are detections of class d where no such object is (or where it was found already),
    counts[t, 0] objects of class t that nothing was found on. counts[0, 0] is 0."""


def confusion_matrix(scored: Scored, verdicts: Verdicts, score_threshold: float) -> Confusion:
    """The matrix at the verdicts' IoU, of detections with at least `score_threshold`.

    A detection and an object are matched at most once. First each class for itself, as in its AP:
    so the diagonal holds exactly the right detections. Then what is left, by falling score: a
    detection takes, of the free objects of other classes that it overlaps by the IoU, the one it
    overlaps most (ties: the first). Difficult objects are neither asked for nor found: a detection
    left over that lies on one, of whatever class, is not counted.
    """
    sure = scored.detections.scores >= score_threshold
    right = sure & verdicts.right
    free = ~scored.truths.difficult
    free[verdicts.nearest[right]] = False
    taken_for = np.zeros(len(free), dtype=np.int64)
    taken_for[verdicts.nearest[right]] = scored.labels[right]
    pairs = pairs_of(scored, sure & verdicts.wrong, verdicts.iou_threshold)
    matched = _match(scored, pairs, free)
    taken_for[matched.truths] = scored.labels[matched.detections]
    background = sure & verdicts.wrong
    background[matched.detections] = False
    background[pairs.detections[scored.truths.difficult[pairs.truths]]] = False
    size = len(scored.class_names) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    required = ~scored.truths.difficult
    np.add.at(counts, (scored.truth_labels[required], taken_for[required]), 1)
    counts[BACKGROUND] += np.bincount(scored.labels[background], minlength=size)
    return Confusion(score_threshold, verdicts.iou_threshold, counts)


def pairs_of(scored: Scored, detections: Bools, least: float) -> Pairs:
    """The detections of a mask [D] with every truth, of any class, that they overlap by `least`."""
    rows = np.flatnonzero(detections)
    parts = [
        one.take(one.iou >= least)
        for one in pairs_in_pictures(scored.detections.take(rows), scored.truths)
    ]
    nothing = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    near = Pairs(*(np.concatenate(column) for column in zip(nothing, *parts, strict=True)))
    return near._replace(detections=rows[near.detections])


def _match(scored: Scored, pairs: Pairs, free: Bools) -> Pairs:
    """The pairs that come together, each detection and each free truth at most once."""
    other = scored.labels[pairs.detections] != scored.truth_labels[pairs.truths]
    pairs = pairs.take(other & free[pairs.truths])
    order = np.lexsort(
        (pairs.truths, -pairs.iou, pairs.detections, -scored.detections.scores[pairs.detections])
    )
    used_detections: set[int] = set()
    used_truths: set[int] = set()
    chosen = []
    for row in order.tolist():
        detection, truth = int(pairs.detections[row]), int(pairs.truths[row])
        if detection not in used_detections and truth not in used_truths:
            used_detections.add(detection)
            used_truths.add(truth)
            chosen.append(row)
    return pairs.take(np.array(chosen, dtype=np.int64))
