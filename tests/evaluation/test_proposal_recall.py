"""Recall of proposals: hand-made cases, and the definition in loops."""

import numpy as np
import pytest

from rfcn.evaluation.proposal_recall import IOUS, proposal_recall
from rfcn.evaluation.scored import gather

NAMES = ("cat", "dog", "cow")


def test_the_ious_are_the_floats_nearest_to_their_decimals():
    assert IOUS.tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_a_case_by_hand(target):
    truths = gather({"a": target([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1])}, {}, NAMES).truths
    boxes = np.array([[0, 0, 10, 7], [50, 50, 60, 60], [0, 0, 10, 10]], np.float64)
    result = proposal_recall([boxes], truths, most=4)
    assert result.counts == (1, 2, 4)
    assert result.recall[:, 0].tolist() == [0.5, 1, 1]  # IoU 0.5
    assert result.recall[:, 4].tolist() == [0.5, 1, 1]  # 0.7 is reached by 0.7
    assert result.recall[:, 5].tolist() == [0, 0.5, 1]
    assert result.average.tolist() == pytest.approx([0.25, 0.75, 1])
    assert (result.truths, result.proposals) == (2, 3)
    assert result.by_size["small"].tolist() == result.average.tolist()
    assert np.isnan(result.by_size["large"]).all()


def test_difficult_objects_and_empty_pictures(target):
    scene = {"a": target([[0, 0, 9, 9], [1, 1, 5, 5]], [1, 1], [True, False]), "b": target([], [])}
    truths = gather(scene, {}, NAMES).truths
    none = np.zeros((0, 4))
    result = proposal_recall([none, np.array([[0.0, 0, 9, 9]])], truths, most=1)
    assert result.truths == 1
    assert result.recall.tolist() == [[0] * 10]
    assert result.proposals == 0.5
    nothing = proposal_recall([none], gather({"b": scene["b"]}, {}, NAMES).truths, most=1)
    assert np.isnan(nothing.recall).all()


@pytest.mark.parametrize("seed", range(4))
def test_recall_is_that_of_the_slow_definition(slow, seed):
    truths, found = slow.random_scene(seed)
    proposals, objects = slow.things(truths, found)
    boxes = [
        np.array([p.box for p in proposals if p.picture == n], np.float64).reshape(-1, 4)
        for n in range(len(truths))
    ]
    result = proposal_recall(boxes, gather(truths, {}, NAMES).truths, most=7)
    assert result.counts == (1, 2, 5, 7)
    asked = [o for o in objects if not o.difficult]
    for row, count in enumerate(result.counts):
        for column, iou in enumerate(IOUS):
            covered = 0
            for o in asked:
                first = [p for p in proposals if p.picture == o.picture][:count]
                covered += any(slow.overlap(p, o) >= iou for p in first)
            assert result.recall[row, column] == pytest.approx(covered / len(asked))
