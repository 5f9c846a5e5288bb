"""What kinds of error there are, and what each costs.

Source: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, sections 2.2 and 2.3; where two kinds fit one false positive, the order is that
of the authors' tool: box, class, duplicate, background, both.

Legend: D detections, G ground-truth boxes, C classes without background.
"""

from dataclasses import dataclass

import numpy as np

from rfcn.evaluation.average_precision import Bools, Floats, Ints
from rfcn.evaluation.confusion import pairs_of
from rfcn.evaluation.scored import Scored, Verdicts, class_aps, mean

BACKGROUND_IOU = 0.1
"""A detection that overlaps nothing by more stands on background (the paper's t_b)."""

KINDS = ("class", "box", "both", "duplicate", "background", "missed")
"""Wrong class on a right box; right class on a poor box; both wrong; a second detection of one
object; nothing there; an object that neither a detection nor a mended one stands for."""
TITLES = ("wrong class", "poor box", "both wrong", "duplicate", "background", "missed")
"""The same in words, for people."""
CLASS, BOX, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))


@dataclass(frozen=True)
class ErrorTypes:
    """The errors of a detector by kind, and the AP that goes with each.

    A cost is the mAP gained when errors of that kind alone are mended. Costs do not add up to what
    is missing to 1: mending one kind changes what the others cost, and a right detection ranked
    below a false one is an error of nobody's.
    """

    iou_threshold: float
    ap: float | None
    """The mAP by area as it is, 0..1; None without ground truth."""
    kinds: Ints
    """[D] number in `KINDS` of each false positive, -1 of all others."""
    objects: Ints
    """[D] the truth that a false positive of kind class or box was meant for; -1 of others."""
    missed: Bools
    """[G] truths of the kind missed."""
    class_costs: Floats
    """[6, C] the AP that each class gains when a kind is mended; NaN without ground truth."""
    false_positives_cost: float
    """The mAP gained when no false positive were left."""
    false_negatives_cost: float
    """The mAP gained when only the objects that were found were asked for."""

    @property
    def costs(self) -> list[float]:
        """The mAP that mending each kind gains, 0..1, in the order of `KINDS`."""
        return [mean(row) or 0.0 for row in self.class_costs]

    def counts(self, chosen: Bools) -> list[int]:
        """How many errors of each kind; of false positives only those of a mask [D]."""
        kinds = self.kinds[chosen & (self.kinds >= 0)]
        counted = np.bincount(kinds, minlength=len(KINDS))
        counted[MISSED] = self.missed.sum()
        return counted.tolist()


def classify_errors(scored: Scored, verdicts: Verdicts) -> ErrorTypes:
    """The kind of every error at the verdicts' IoU t, and what each kind costs.

    With the largest IoU of a false positive with a (not difficult) object of its own class and with
    one of another class, it is of the kind
        box          0.1 <= own < t                    mended: it gets the object's box
        class        other >= t                        mended: it gets the object's class
        duplicate    own >= t, the object is taken     mended: it goes
        background   both <= 0.1                       mended: it goes
        both         0.1 <= other < t                  mended: it goes
    whichever comes first. Where mending makes several detections stand for one object, that of the
    highest score is right and the others go. An object is missed when no right detection, and none
    of kind box or class, stands for it; mended, it is asked for no more (a class whose every object
    was missed then has AP 1: nothing is left to be found).
    """
    own, own_object, other, other_object = _nearest_objects(scored, verdicts.wrong)
    wrong, t = verdicts.wrong, verdicts.iou_threshold
    kinds = np.full(len(wrong), -1)
    # from the last to the first, so that the first that fits stays
    kinds[wrong] = BOTH
    kinds[wrong & (np.maximum(own, other) <= BACKGROUND_IOU)] = BACKGROUND
    # a false positive on an object of its class is none but the second (`voc_ap`)
    kinds[wrong & (own >= t)] = DUPLICATE
    kinds[wrong & (other >= t)] = CLASS
    kinds[wrong & (own >= BACKGROUND_IOU) & (own < t)] = BOX
    objects = np.full(len(wrong), -1)
    objects[kinds == BOX] = own_object[kinds == BOX]
    objects[kinds == CLASS] = other_object[kinds == CLASS]
    missed = ~scored.truths.difficult & ~verdicts.found
    missed[objects[objects >= 0]] = False
    before = _aps(scored, verdicts.counts, verdicts.right)
    after = [_mended(scored, verdicts, kinds, objects, kind) for kind in (CLASS, BOX)]
    for kind in (BOTH, DUPLICATE, BACKGROUND):
        after.append(_aps(scored, verdicts.counts & (kinds != kind), verdicts.right))
    after.append(_without_missed(scored, verdicts, missed))
    ap = mean(before)
    clean = mean(_aps(scored, verdicts.right, verdicts.right))
    asked = mean(_without_missed(scored, verdicts, ~scored.truths.difficult & ~verdicts.found))
    return ErrorTypes(
        iou_threshold=t,
        ap=ap,
        kinds=kinds,
        objects=objects,
        missed=missed,
        class_costs=np.stack(after) - before,
        false_positives_cost=(clean or 0.0) - (ap or 0.0),
        false_negatives_cost=(asked or 0.0) - (ap or 0.0),
    )


def _nearest_objects(scored: Scored, chosen: Bools) -> tuple[Floats, Ints, Floats, Ints]:
    """For each detection the largest IoU with an object of its class, which one, and the same for
    objects of other classes; 0 and -1 where it overlaps none by 0.1. Difficult ones are left out.
    """
    pairs = pairs_of(scored, chosen, BACKGROUND_IOU)
    pairs = pairs.take(~scored.truths.difficult[pairs.truths])
    same = scored.labels[pairs.detections] == scored.truth_labels[pairs.truths]
    columns: list[np.ndarray] = []
    for mask in (same, ~same):
        near = pairs.take(mask)
        # the last written stays: the largest IoU, and of equal ones the first truth
        order = np.lexsort((-near.truths, near.iou, near.detections))
        iou, which = np.zeros(len(chosen)), np.full(len(chosen), -1)
        iou[near.detections[order]] = near.iou[order]
        which[near.detections[order]] = near.truths[order]
        columns += [iou, which]
    return columns[0], columns[1], columns[2], columns[3]


def _aps(scored: Scored, kept: Bools, right: Bools, required: Ints | None = None) -> Floats:
    """The AP of each class from the detections of a mask."""
    required = scored.required if required is None else required
    return class_aps(scored.labels[kept], scored.detections.scores[kept], right[kept], required)


def _mended(scored: Scored, verdicts: Verdicts, kinds: Ints, objects: Ints, kind: int) -> Floats:
    """The APs when each detection of a kind stands for its object as it should."""
    mended = kinds == kind
    stands_for = np.where(verdicts.right, verdicts.nearest, -1)
    stands_for[mended] = objects[mended]
    standing = np.flatnonzero(stands_for >= 0)
    best_first = standing[np.argsort(-scored.detections.scores[standing], kind="stable")]
    _, first = np.unique(stands_for[best_first], return_index=True)
    right = np.zeros(len(kinds), dtype=np.bool_)
    right[best_first[first]] = True
    kept = verdicts.counts.copy()
    kept[standing] = right[standing]
    labels = scored.labels.copy()
    labels[standing] = scored.truth_labels[stands_for[standing]]
    scores = scored.detections.scores
    return class_aps(labels[kept], scores[kept], right[kept], scored.required)


def _without_missed(scored: Scored, verdicts: Verdicts, missed: Bools) -> Floats:
    """The APs when the missed objects are not asked for."""
    required = scored.required
    left = required - scored.count_truths(missed)
    aps = _aps(scored, verdicts.counts, verdicts.right, left)
    aps[(required > 0)[1:] & (left == 0)[1:]] = 1.0
    return aps
