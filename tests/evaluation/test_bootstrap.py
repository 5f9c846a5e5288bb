"""Bootstrap intervals: a resample scored the slow way, as a data set with copies of pictures."""

import numpy as np
import pytest
import torch

from rfcn.evaluation import bootstrap as module
from rfcn.evaluation.bootstrap import bootstrap, draw_weights, weighted_aps
from rfcn.evaluation.scored import class_aps, gather, judge_all
from rfcn.evaluation.voc import VOCEvaluator

NAMES = ("cat", "dog", "cow")


def resampled(truths, found, weights):
    """The metric on a data set that holds each picture as often as it was drawn."""
    copies = [f"{name}#{n}" for name, w in zip(truths, weights, strict=True) for n in range(int(w))]
    evaluator = VOCEvaluator({name: truths[name.split("#")[0]] for name in copies}, NAMES)
    there = [name for name in copies if name.split("#")[0] in found]
    evaluator.update(there, [found[name.split("#")[0]] for name in there])
    return evaluator.compute()


def distinct(found):
    """The same with no two equal scores: equal ones may change place between copies."""
    start = 0
    for one in found.values():
        one.scores[:] += 1e-4 * torch.arange(start, start + len(one))
        start += len(one)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("at_once", [1, 1 << 23])
def test_a_resample_is_the_metric_of_that_data_set(slow, monkeypatch, seed, at_once):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    truths, found = slow.random_scene(seed)
    found = distinct(found)
    scored = gather(truths, found, NAMES)
    drawn = bootstrap(scored, judge_all(scored), resamples=9, confidence=0.5, seed=seed)
    weights = draw_weights(len(truths), 9, seed)
    assert weights.sum(axis=0).tolist() == [len(truths)] * 9
    results = [resampled(truths, found, weights[:, b]) for b in range(9)]
    means = [one.mean_ap(0.5) for one in results]
    assert [drawn.mean.low, drawn.mean.high] == pytest.approx(
        np.percentile(means, [25, 75]), abs=1e-6
    )
    for index, interval in enumerate(drawn.classes):
        aps = [one.classes[index].curves[0].ap for one in results]
        known = [ap for ap in aps if ap is not None]
        expected = np.percentile(known, [25, 75])
        assert [interval.low, interval.high] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_every_picture_once_gives_the_ap_itself(slow, seed):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored)
    kept = verdicts.counts & (scored.labels == 1)
    ranked = np.flatnonzero(kept)[np.argsort(-scored.detections.scores[kept], kind="stable")]
    asked = ~scored.truths.difficult & (scored.truth_labels == 1)
    once = weighted_aps(
        verdicts.right[ranked],
        scored.detections.pictures[ranked],
        scored.truths.pictures[asked],
        np.ones((len(truths), 1), np.float32),
    )
    expected = class_aps(
        scored.labels[kept], scored.detections.scores[kept], verdicts.right[kept], scored.required
    )
    assert once[0] == pytest.approx(expected[0], abs=1e-6)


def test_the_seed_decides(slow):
    scored = gather(*slow.random_scene(0), NAMES)
    verdicts = judge_all(scored)
    first, again, other = (
        bootstrap(scored, verdicts, resamples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.mean != other.mean
    assert first.mean.low <= first.mean.value <= first.mean.high


def test_without_objects_there_is_no_interval(target, detections):
    scored = gather({"a": target([], [])}, {"a": detections([[0, 0, 1, 1]], [0.5], [1])}, NAMES)
    drawn = bootstrap(scored, judge_all(scored), resamples=5)
    assert (drawn.mean.value, drawn.mean.low, drawn.mean.high) == (None, None, None)


def test_a_class_that_was_never_found_has_an_ap_of_zero_in_every_resample(target, detections):
    truths = {"a": target([[0, 0, 9, 9]], [1]), "b": target([[0, 0, 9, 9]], [2])}
    scored = gather(truths, {"a": detections([[0, 0, 9, 9]], [0.5], [1])}, NAMES)
    drawn = bootstrap(scored, judge_all(scored), resamples=40)
    assert (drawn.classes[0].low, drawn.classes[0].high) == (1, 1)
    assert (drawn.classes[1].low, drawn.classes[1].high) == (0, 0)
    assert (drawn.mean.low, drawn.mean.high) == (0, 1)  # whichever picture was drawn twice
