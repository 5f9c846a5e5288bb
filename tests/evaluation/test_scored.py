"""All detections and truths side by side, and the verdicts on them."""

import numpy as np
import pytest

from rfcn.evaluation.scored import class_aps, gather, judge_all, mean
from rfcn.evaluation.voc import VOCEvaluator

NAMES = ("cat", "dog", "cow")


def test_pictures_without_detections_keep_their_number(target, detections):
    truths = {
        "a": target([[0, 0, 9, 9]], [1]),
        "b": target([], []),
        "c": target([[1, 1, 3, 3]], [2]),
    }
    scored = gather(truths, {"c": detections([[1, 1, 3, 3]], [0.5], [2])}, NAMES)
    assert scored.pictures == ("a", "b", "c")
    assert scored.detections.pictures.tolist() == [2]
    assert scored.truths.pictures.tolist() == [0, 2]
    assert scored.required.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(4))
def test_verdicts_are_those_of_the_slow_definition(slow, seed, iou):
    truths, found = slow.random_scene(seed)
    verdicts = judge_all(gather(truths, found, NAMES), iou)
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects, iou)
    assert verdicts.right.tolist() == [one.verdict == "right" for one in detections]
    assert verdicts.counts.tolist() == [one.verdict != "ignored" for one in detections]
    assert verdicts.wrong.tolist() == [one.verdict == "wrong" for one in detections]
    assert verdicts.found.tolist() == [o.found_by is not None for o in objects]
    for one in detections:
        if one.stands_for is not None:
            assert verdicts.nearest[one.index] == one.stands_for.index


@pytest.mark.parametrize("seed", range(4))
def test_the_aps_are_those_of_the_metric(slow, seed):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored, 0.5)
    kept = verdicts.counts
    aps = class_aps(
        scored.labels[kept], scored.detections.scores[kept], verdicts.right[kept], scored.required
    )
    evaluator = VOCEvaluator(truths, NAMES)
    evaluator.update(list(found), list(found.values()))
    result = evaluator.compute()
    assert aps.tolist() == [one.curves[0].ap for one in result.classes]
    assert mean(aps) == pytest.approx(result.mean_ap(0.5), abs=1e-12)


def test_a_class_without_objects_has_no_ap_and_is_not_in_the_mean():
    none = np.zeros(0)
    aps = class_aps(none.astype(int), none, none.astype(bool), np.array([0, 2, 0]))
    assert aps[0] == 0
    assert np.isnan(aps[1])
    assert mean(aps) == 0
    assert mean(aps[1:]) is None
