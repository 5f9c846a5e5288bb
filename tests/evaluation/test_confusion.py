"""The confusion matrix: hand-made cases, and the definition in loops."""

import numpy as np
import pytest

from rfcn.evaluation.confusion import confusion_matrix, pairs_of
from rfcn.evaluation.scored import gather, judge_all

NAMES = ("cat", "dog", "cow")
BOX, NEAR, FAR = [0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]


def matrix(truths, found, score=0.5):
    scored = gather({"a": truths}, {"a": found}, NAMES)
    return confusion_matrix(scored, judge_all(scored), score).counts


def entries(counts):
    return {(int(t), int(d)): int(counts[t, d]) for t, d in zip(*np.nonzero(counts), strict=True)}


def test_a_right_detection_lies_on_the_diagonal(target, detections):
    assert entries(matrix(target([BOX], [2]), detections([NEAR], [0.9], [2]))) == {(2, 2): 1}


def test_a_wrong_class_lies_beside_it(target, detections):
    assert entries(matrix(target([BOX], [2]), detections([NEAR], [0.9], [1]))) == {(2, 1): 1}


def test_what_is_missed_and_what_is_made_up_meet_background(target, detections):
    counts = matrix(target([BOX], [2]), detections([FAR], [0.9], [3]))
    assert entries(counts) == {(2, 0): 1, (0, 3): 1}


def test_a_detection_below_the_score_does_not_exist(target, detections):
    counts = matrix(target([BOX], [2]), detections([BOX], [0.4], [2]))
    assert entries(counts) == {(2, 0): 1}
    assert entries(matrix(target([BOX], [2]), detections([BOX], [0.5], [2]))) == {(2, 2): 1}


def test_an_object_is_matched_once_its_own_class_first(target, detections):
    found = detections([BOX, NEAR, NEAR], [0.9, 0.6, 0.8], [1, 2, 2])
    assert entries(matrix(target([BOX], [2]), found)) == {(2, 2): 1, (0, 1): 1, (0, 2): 1}


def test_difficult_objects_are_neither_missed_nor_made_up(target, detections):
    truths = target([BOX, FAR], [2, 1], [True, False])
    found = detections([BOX, NEAR, FAR], [0.9, 0.8, 0.7], [2, 3, 1])
    assert entries(matrix(truths, found)) == {(1, 1): 1}


def slow_matrix(slow, truths, found, score):
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects)
    counts = np.zeros((4, 4), int)
    free = {o.index for o in objects if not o.difficult}
    left = []
    for one in slow.best_first([d for d in detections if d.score >= score]):
        if one.verdict == "right":
            counts[one.label, one.label] += 1
            free.remove(one.stands_for.index)
        elif one.verdict == "wrong":
            left.append(one)
    for one in left:
        on = [o for o in objects if slow.overlap(one, o) >= 0.5]
        others = [o for o in on if o.index in free and o.label != one.label]
        if others:
            mine = slow.nearest(one, others)
            free.remove(mine.index)
            counts[mine.label, one.label] += 1
        elif not any(o.difficult for o in on):
            counts[0, one.label] += 1
    for index in free:
        counts[objects[index].label, 0] += 1
    return counts


@pytest.mark.parametrize("score", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(6))
def test_the_matrix_is_that_of_the_slow_definition(slow, seed, score):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored)
    counts = confusion_matrix(scored, verdicts, score).counts
    assert counts.tolist() == slow_matrix(slow, truths, found, score).tolist()
    assert np.trace(counts) == (verdicts.right & (scored.detections.scores >= score)).sum()
    assert counts[1:].sum(axis=1).tolist() == scored.required[1:].tolist()


def test_nothing_at_all(target, detections):
    assert matrix(target([], []), detections([], [], [])).sum() == 0
    scored = gather({"a": target([], [])}, {}, NAMES)
    assert len(pairs_of(scored, np.zeros(0, bool), 0.5).iou) == 0
