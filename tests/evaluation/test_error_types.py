"""Errors by kind and what each costs: hand-made cases, and the definitions in loops."""

import numpy as np
import pytest

from rfcn.evaluation.error_types import (
    BACKGROUND,
    BOTH,
    BOX,
    CLASS,
    DUPLICATE,
    KINDS,
    MISSED,
    classify_errors,
)
from rfcn.evaluation.scored import gather, judge_all

NAMES = ("cat", "dog", "cow")
HERE = [0, 0, 10, 10]
NEAR = [0, 0, 10, 9]  # IoU 0.9 with HERE
PART = [0, 0, 10, 3]  # 0.3
EDGE = [0, 0, 10, 0.5]  # 0.05
FAR = [50, 50, 60, 60]


def errors(truths, found):
    scored = gather({"a": truths}, {"a": found}, NAMES)
    return classify_errors(scored, judge_all(scored))


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (NEAR, 2, CLASS),
        (PART, 1, BOX),
        (PART, 2, BOTH),
        (EDGE, 1, BACKGROUND),
        (EDGE, 2, BACKGROUND),
        (FAR, 1, BACKGROUND),
    ],
)
def test_a_single_detection_is_of_one_kind(target, detections, box, label, kind):
    result = errors(target([HERE], [1]), detections([box], [0.9], [label]))
    assert result.kinds.tolist() == [kind]
    assert result.objects.tolist() == [0 if kind in (CLASS, BOX) else -1]
    assert result.missed.tolist() == [kind not in (CLASS, BOX)]
    assert result.ap == 0


def test_the_second_on_one_object_is_a_duplicate_that_costs_what_stands_below_it(
    target, detections
):
    truths = target([HERE, FAR], [1, 1])
    result = errors(truths, detections([HERE, NEAR, FAR], [0.9, 0.8, 0.7], [1, 1, 1]))
    assert result.kinds.tolist() == [-1, DUPLICATE, -1]
    assert result.ap == pytest.approx((1 + 2 / 3) / 2)
    assert result.costs[DUPLICATE] == pytest.approx(1 / 6)
    assert sum(result.costs) == pytest.approx(1 / 6)
    assert result.false_positives_cost == pytest.approx(1 / 6)
    assert result.false_negatives_cost == 0


def test_a_wrong_class_costs_in_both_classes(target, detections):
    # the dog was called a cat, above the right cat
    truths = target([HERE, FAR], [1, 2])
    result = errors(truths, detections([FAR, HERE], [0.9, 0.8], [1, 1]))
    assert result.kinds.tolist() == [CLASS, -1]
    assert result.ap == pytest.approx((1 / 2 + 0) / 2)
    assert result.class_costs[CLASS, :2].tolist() == pytest.approx([0.5, 1.0])
    assert np.isnan(result.class_costs[CLASS, 2])
    assert result.costs[CLASS] == pytest.approx(0.75)
    assert not result.missed.any()


def test_of_several_that_stand_for_one_object_the_best_stays(target, detections):
    # two poor boxes on an object: mended, the lower is gone and not a duplicate
    result = errors(target([HERE], [1]), detections([PART, PART], [0.9, 0.8], [1, 1]))
    assert result.kinds.tolist() == [BOX, BOX]
    assert result.costs[BOX] == 1


def test_a_mended_one_above_the_right_one_takes_its_place(target, detections):
    truths = target([HERE, FAR], [1, 1])
    result = errors(truths, detections([PART, HERE, FAR], [0.9, 0.8, 0.7], [1, 1, 1]))
    assert result.kinds.tolist() == [BOX, -1, -1]
    assert result.costs[BOX] == pytest.approx(1 - 2 / 3)


def test_missed_objects_are_asked_for_no_more(target, detections):
    truths = target([HERE, FAR], [1, 1])
    result = errors(truths, detections([HERE], [0.9], [1]))
    assert result.missed.tolist() == [False, True]
    assert result.costs[MISSED] == pytest.approx(0.5)
    assert result.false_negatives_cost == pytest.approx(0.5)
    nothing = errors(truths, detections([], [], []))
    assert nothing.costs[MISSED] == 1  # nothing is left to be found
    assert nothing.counts(np.zeros(0, bool)) == [0, 0, 0, 0, 0, 2]


def test_difficult_objects_make_no_errors(target, detections):
    truths = target([HERE, FAR], [1, 1], [True, False])
    result = errors(truths, detections([HERE, NEAR, FAR], [0.9, 0.8, 0.7], [1, 1, 1]))
    assert result.kinds.tolist() == [-1, -1, -1]
    assert not result.missed.any()
    assert result.costs == [0] * len(KINDS)


def test_without_ground_truth_there_is_no_ap(target, detections):
    result = errors(target([], []), detections([FAR], [0.9], [1]))
    assert result.ap is None
    assert result.kinds.tolist() == [BACKGROUND]
    assert result.costs == [0] * len(KINDS)


# -------------------------------------------------------------------------------- in slow motion


def slow_kind(slow, one, objects, t):
    required = [o for o in objects if not o.difficult]

    def largest(mine):
        best = slow.nearest(one, [o for o in required if (o.label == one.label) == mine])
        value = 0.0 if best is None else slow.overlap(one, best)
        return value, best

    (own, own_object), (other, other_object) = largest(True), largest(False)
    if 0.1 <= own < t:
        return BOX, own_object
    if other >= t:
        return CLASS, other_object
    if own >= t:
        return DUPLICATE, None
    if max(own, other) <= 0.1:
        return BACKGROUND, None
    return BOTH, None


def slow_mended(slow, counted, objects, kinds, kind):
    """The mAP when those of a kind stand for their objects, the best for each."""
    standing = {}  # object -> detections that stand for it
    for one in counted:
        meant = one.stands_for
        if meant is None and kinds[one.index][0] == kind:
            meant = kinds[one.index][1]
        if meant is not None:
            standing.setdefault(meant.index, []).append(one)
    best = {slow.best_first(ones)[0].index: index for index, ones in standing.items()}
    gone = {one.index for ones in standing.values() for one in ones} - set(best)
    rows = []
    for one in counted:
        if one.index in best:
            rows.append((objects[best[one.index]].label, one.score, True))
        elif one.index not in gone:
            rows.append((one.label, one.score, False))
    return slow.mean_ap(rows, slow.required_by_class(objects))


def slow_errors(slow, truths, found, t):
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects, t)
    required = slow.required_by_class(objects)
    kinds = {
        one.index: slow_kind(slow, one, objects, t) for one in detections if one.verdict == "wrong"
    }
    counted = [one for one in detections if one.verdict != "ignored"]
    covered = {o.index for _, o in kinds.values() if o is not None}
    missed = [
        o for o in objects if not o.difficult and o.found_by is None and o.index not in covered
    ]

    def ap(keep=lambda one: True, needed=required):
        rows = [(o.label, o.score, o.verdict == "right") for o in counted if keep(o)]
        return slow.mean_ap(rows, needed)

    without = {
        label: count - sum(o.label == label for o in missed) for label, count in required.items()
    }
    rows = [(o.label, o.score, o.verdict == "right") for o in counted]
    left = [
        1.0
        if without[label] == 0
        else slow.mean_ap([row for row in rows if row[0] == label], {label: without[label]})
        for label, count in required.items()
        if count
    ]
    after = [
        slow_mended(slow, counted, objects, kinds, CLASS),
        slow_mended(slow, counted, objects, kinds, BOX),
        *(
            ap(lambda o, kind=kind: o.verdict == "right" or kinds[o.index][0] != kind)
            for kind in (BOTH, DUPLICATE, BACKGROUND)
        ),
        sum(left) / len(left),
    ]
    return {i: kind for i, (kind, _) in kinds.items()}, missed, [one - ap() for one in after]


@pytest.mark.parametrize("t", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(8))
def test_kinds_and_costs_are_those_of_the_slow_definition(slow, seed, t):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    result = classify_errors(scored, judge_all(scored, t))
    kinds, missed, costs = slow_errors(slow, truths, found, t)
    assert {i: int(kind) for i, kind in enumerate(result.kinds) if kind >= 0} == kinds
    assert np.flatnonzero(result.missed).tolist() == [o.index for o in missed]
    assert result.costs == pytest.approx(costs, abs=1e-12)
    assert min(result.costs) > -1e-12
    assert len(set(kinds.values())) >= 3  # the scene is worth something
