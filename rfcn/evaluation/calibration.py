"""What a score means, and from which score on a detection should be believed.

Sources: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for reliability diagrams
and the expected calibration error; of detections, that a detection is right takes the place of
accuracy (Kueppers et al., "Multivariate Confidence Calibration for Object Detection", 2020).
"""

from dataclasses import dataclass

import numpy as np

from rfcn.evaluation.average_precision import Bools, Floats, Ints
from rfcn.evaluation.scored import Scored, Verdicts

BINS = 10
LEAST_SCORE = 0.1
"""The error is of detections from this score on: below it lies what nobody looks at, so many that
they would decide the figure alone."""


@dataclass(frozen=True)
class Reliability:
    """Scores beside the share of right detections, in bins of equal width over 0..1."""

    counts: Ints
    """[B] detections a bin; a score of 1 falls into the last."""
    scores: Floats
    """[B] their mean score, NaN in an empty bin."""
    precision: Floats
    """[B] the share of them that is right, NaN in an empty bin."""
    error: float | None
    """Expected calibration error over the bins from `LEAST_SCORE` on: the mean distance of score
    and precision, by detections; None without any."""


@dataclass(frozen=True)
class Threshold:
    """From which score on detections are best kept, by F1, and what that gives."""

    score: float
    """The middle between the last score that is kept and the first that is not."""
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Calibration:
    """All of it, for all classes together and each alone, at one IoU."""

    overall: Reliability
    classes: tuple[Reliability, ...]
    best: Threshold | None
    """One score for all classes; None where nothing right was found."""
    best_by_class: tuple[Threshold | None, ...]


def calibrate(scored: Scored, verdicts: Verdicts) -> Calibration:
    """Reliability and best thresholds of the detections that count."""
    kept = verdicts.counts
    scores, right, labels = (
        scored.detections.scores[kept],
        verdicts.right[kept],
        scored.labels[kept],
    )
    masks = [labels == label for label in range(1, len(scored.class_names) + 1)]
    required = scored.required
    return Calibration(
        overall=reliability(scores, right),
        classes=tuple(reliability(scores[mask], right[mask]) for mask in masks),
        best=best_threshold(scores, right, int(required.sum())),
        best_by_class=tuple(
            best_threshold(scores[mask], right[mask], int(count))
            for mask, count in zip(masks, required[1:], strict=True)
        ),
    )


def reliability(scores: Floats, right: Bools) -> Reliability:
    """The diagram of some detections. scores, right: [N]."""
    bins = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    nothing = np.full(BINS, np.nan)
    there = counts > 0
    means, shares = (
        np.divide(np.bincount(bins, values, BINS), counts, out=nothing.copy(), where=there)
        for values in (scores, right.astype(np.float64))
    )
    seen = there & (np.arange(BINS) >= round(LEAST_SCORE * BINS))
    distance = np.abs(means - shares)[seen]
    error = float(np.average(distance, weights=counts[seen])) if seen.any() else None
    return Reliability(counts, means, shares, error)


def best_threshold(scores: Floats, right: Bools, required: int) -> Threshold | None:
    """The score of highest F1 = 2 TP / (detections kept + objects); ties: the highest score.

    Detections of equal score are kept or dropped together. None where nothing is right.
    """
    if required == 0 or not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    true = np.cumsum(right[order])
    kept = np.arange(1, len(ranked) + 1)
    f1 = 2 * true / (kept + required)
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # not between equal scores
    best = int(np.argmax(f1))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return Threshold(
        score=float((ranked[best] + below) / 2),
        f1=float(f1[best]),
        precision=float(true[best] / kept[best]),
        recall=float(true[best] / required),
    )
