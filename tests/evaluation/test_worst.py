"""The pictures that cost most."""

import numpy as np
import pytest

from rfcn.evaluation.error_types import classify_errors
from rfcn.evaluation.scored import gather, judge_all
from rfcn.evaluation.worst import describe_picture, picture_costs

NAMES = ("cat", "dog", "cow")
HERE, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def test_costs_by_hand(target, detections):
    truths = {
        "false": target([], []),
        "right": target([HERE, FAR], [1, 1]),
        "missed": target([HERE], [2]),
    }
    found = {
        "false": detections([HERE], [0.9], [1]),
        "right": detections([HERE, FAR], [0.8, 0.7], [1, 1]),
    }
    scored = gather(truths, found, NAMES)
    # cats: ranks 2 and 3 have precisions 1/2 and 2/3; without the false one 1 and 1, to first order
    # 1/2 + 1 / (2 * 1) and 2/3 + 2 / (3 * 2); two cats, two classes
    false = (1 / 2 + 2 / 6) / 2 / 2
    assert picture_costs(scored, judge_all(scored)) == pytest.approx([false, 0, 1 / 2])


def test_a_single_false_detection_costs_what_the_mean_says(target, detections):
    truths = {"a": target([HERE], [1])}
    scored = gather(truths, {"a": detections([FAR, HERE], [0.9, 0.8], [1, 1])}, NAMES)
    assert picture_costs(scored, judge_all(scored)) == pytest.approx([1 - 1 / 2])


@pytest.mark.parametrize("seed", range(4))
def test_costs_are_those_of_the_slow_definition(slow, seed):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects)
    required = {k: n for k, n in slow.required_by_class(objects).items() if n}
    expected = np.zeros(len(truths))
    for label, count in required.items():
        mine = [
            d for d in slow.best_first(detections) if d.label == label and d.verdict != "ignored"
        ]
        for place, one in enumerate(mine):
            if one.verdict == "wrong":
                for k in range(place + 2, len(mine) + 1):
                    if mine[k - 1].verdict == "right":
                        t = sum(d.verdict == "right" for d in mine[:k])
                        expected[one.picture] += t / (k * (k - 1)) / count / len(required)
        for o in objects:
            if o.label == label and not o.difficult and o.found_by is None:
                expected[o.picture] += 1 / count / len(required)
    assert picture_costs(scored, judge_all(scored)) == pytest.approx(expected)


def test_what_went_wrong_in_words(target, detections):
    truths = {"a": target([HERE, FAR], [1, 1]), "b": target([HERE], [1])}
    found = {
        "a": detections([HERE, FAR, FAR], [0.9, 0.8, 0.3], [1, 2, 1]),
        "b": detections([HERE], [0.9], [1]),
    }
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored)
    errors = classify_errors(scored, verdicts)
    assert describe_picture(scored, verdicts, errors, 0, 0.5) == "1 wrong class, 1 missed"
    assert describe_picture(scored, verdicts, errors, 0, 0.2) == "1 wrong class"
    assert describe_picture(scored, verdicts, errors, 1, 0.5).startswith("nothing wrong")
