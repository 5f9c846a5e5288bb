"""Reliability and thresholds: hand-made cases, and the definitions in loops."""

import numpy as np
import pytest

from rfcn.evaluation.calibration import best_threshold, calibrate, reliability
from rfcn.evaluation.scored import gather, judge_all

NAMES = ("cat", "dog", "cow")


def test_a_diagram_by_hand():
    scores = np.array([0.05, 0.31, 0.39, 0.95, 1.0])
    diagram = reliability(scores, np.array([False, True, False, True, True]))
    assert diagram.counts.tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 2]
    assert diagram.scores[[0, 3, 9]] == pytest.approx([0.05, 0.35, 0.975])
    assert diagram.precision[[0, 3, 9]].tolist() == [0, 0.5, 1]
    assert np.isnan(diagram.precision[1])
    # the bin below 0.1 is shown and not in the error
    assert diagram.error == pytest.approx((2 * 0.15 + 2 * 0.025) / 4)


def test_scores_that_mean_what_they_say_have_no_error():
    scores = np.full(10, 0.75)
    right = np.arange(10) < 7.5
    assert reliability(scores, right).error == pytest.approx(0.05)
    assert reliability(np.full(4, 0.75), np.arange(4) < 3).error == 0


def test_nothing_to_say_without_detections():
    assert reliability(np.zeros(0), np.zeros(0, bool)).error is None
    assert reliability(np.array([0.05]), np.array([False])).error is None
    assert best_threshold(np.array([0.9]), np.array([False]), 3) is None
    assert best_threshold(np.array([0.9]), np.array([False]), 0) is None


def test_a_threshold_by_hand():
    best = best_threshold(np.array([0.2, 0.9, 0.6]), np.array([False, True, True]), 2)
    assert best.score == pytest.approx(0.4)
    assert (best.f1, best.precision, best.recall) == (1, 1, 1)
    last = best_threshold(np.array([0.9, 0.6]), np.array([True, True]), 4)
    assert last.score == 0.6
    assert (last.precision, last.recall) == (1, 0.5)


def test_equal_scores_are_kept_together():
    best = best_threshold(np.array([0.5, 0.5, 0.5, 0.4]), np.array([True, False, False, True]), 2)
    assert best.score == 0.4
    assert best.precision == 0.5


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_and_bins_are_those_of_the_slow_definition(slow, seed):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    result = calibrate(scored, judge_all(scored))
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects)
    counted = [d for d in detections if d.verdict != "ignored"]
    required = slow.required_by_class(objects)
    for label, best, diagram in (
        (None, result.best, result.overall),
        *zip((1, 2, 3), result.best_by_class, result.classes, strict=True),
    ):
        mine = [d for d in counted if label in (None, d.label)]
        objects_asked = sum(required.values()) if label is None else required[label]

        def f1(score, mine=mine, objects_asked=objects_asked):
            kept = [d for d in mine if d.score >= score]
            true = sum(d.verdict == "right" for d in kept)
            return 2 * true / (len(kept) + objects_asked)

        values = {d.score: f1(d.score) for d in mine}
        if best is None:
            assert not any(values.values())
            continue
        assert best.f1 == pytest.approx(max(values.values()))
        assert f1(best.score) == pytest.approx(best.f1)
        for number in range(10):
            there = [d for d in mine if number <= 10 * d.score < number + 1]
            assert diagram.counts[number] == len(there)
            if there:
                share = sum(d.verdict == "right" for d in there) / len(there)
                assert diagram.precision[number] == pytest.approx(share)
                assert diagram.scores[number] == pytest.approx(
                    sum(d.score for d in there) / len(there)
                )
