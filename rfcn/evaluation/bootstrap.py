"""How far the mAP would move with other pictures of the same kind: bootstrap intervals.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles).
Pictures are drawn with replacement, as many as there are; their objects and detections come along.
Matching never leaves a picture, so it is done once; a picture drawn twice weighs twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfcn.evaluation.average_precision import Bools, Floats, Ints
from rfcn.evaluation.scored import Scored, Verdicts, class_aps, mean

Weights = NDArray[np.float32]
"""[P, B] how often each picture was drawn."""

RESAMPLES = 1000
CONFIDENCE = 0.95
AT_ONCE = 1 << 23
"""Weights (detections times resamples) held together: bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """A figure, and between what it falls in the middle share of the resamples. 0..1."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Intervals:
    """Intervals of the mAP and of each class's AP, by area."""

    mean: Interval
    classes: tuple[Interval, ...]
    resamples: int
    confidence: float


def bootstrap(
    scored: Scored,
    verdicts: Verdicts,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Intervals:
    """Percentile intervals of AP over the pictures, at the verdicts' IoU.

    A class without objects in a resample has no AP there, and that resample's mean is over the
    others, as in the metric. Copies of a picture are ranked side by side among equal scores.
    """
    weights = draw_weights(len(scored.pictures), resamples, seed)
    kept = verdicts.counts
    labels, scores = scored.labels[kept], scored.detections.scores[kept]
    right, pictures = verdicts.right[kept], scored.detections.pictures[kept]
    values = class_aps(labels, scores, right, scored.required)
    asked = ~scored.truths.difficult
    drawn = np.full((len(values), resamples), np.nan)
    for index in range(len(values)):
        mine = np.flatnonzero(labels == index + 1)
        ranked = mine[np.argsort(-scores[mine], kind="stable")]
        of_class = scored.truths.pictures[asked & (scored.truth_labels == index + 1)]
        drawn[index] = weighted_aps(right[ranked], pictures[ranked], of_class, weights)
    known = ~np.isnan(drawn)
    totals = np.where(known, drawn, 0).sum(axis=0)
    means = np.divide(
        totals, known.sum(axis=0), out=np.full(resamples, np.nan), where=known.any(axis=0)
    )
    return Intervals(
        mean=_interval(mean(values), means, confidence),
        classes=tuple(
            _interval(None if np.isnan(value) else float(value), row, confidence)
            for value, row in zip(values, drawn, strict=True)
        ),
        resamples=resamples,
        confidence=confidence,
    )


def draw_weights(pictures: int, resamples: int, seed: int) -> Weights:
    """How often each picture was drawn in each resample: [P, B] float32, columns sum to P."""
    chance = np.random.default_rng(seed)
    weights = np.empty((pictures, resamples), dtype=np.float32)
    for column in range(resamples):
        drawn = chance.integers(pictures, size=pictures) if pictures else np.zeros(0, np.int64)
        weights[:, column] = np.bincount(drawn, minlength=pictures)
    return weights


def weighted_aps(right: Bools, pictures: Ints, truths: Ints, weights: Weights) -> Floats:
    """The AP of one class in each resample: [B], NaN without objects.

    right, pictures: [D] by falling score; truths: [G] the picture of each object; weights: [P, B].

    Between two right detections the precision only falls, so that only the right ones are looked
    at, with the weights of the false ones before each summed up.
    """
    resamples = weights.shape[1]
    asked = weights[truths].sum(axis=0, dtype=np.float64)
    hits = np.flatnonzero(right)
    if len(hits) == 0:
        return np.where(asked > 0, 0.0, np.nan)
    upto = hits[-1] + 1
    starts = np.concatenate([[0], hits[:-1] + 1])
    step = max(1, AT_ONCE // int(upto))
    aps = np.full(resamples, np.nan)
    for first in range(0, resamples, step):
        chunk = np.ascontiguousarray(weights[:, first : first + step])
        seen = np.cumsum(np.add.reduceat(chunk[pictures[:upto]], starts, axis=0), axis=0)
        gained = chunk[pictures[hits]]
        true = np.cumsum(gained, axis=0)
        precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        area = (gained * envelope).sum(axis=0, dtype=np.float64)
        there = asked[first : first + step]
        aps[first : first + step] = np.divide(
            area, there, out=np.full(len(there), np.nan), where=there > 0
        )
    return aps


def _interval(value: float | None, drawn: Floats, confidence: float) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if value is None or len(known) == 0:
        return Interval(value, None, None)
    outside = 50 * (1 - confidence)
    low, high = np.percentile(known, [outside, 100 - outside])
    return Interval(value, float(low), float(high))
