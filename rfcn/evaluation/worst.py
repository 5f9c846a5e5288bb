"""Which pictures cost the most AP, so that one looks at them first."""

import numpy as np

from rfcn.evaluation.average_precision import Bools, Floats
from rfcn.evaluation.error_types import MISSED, TITLES, ErrorTypes
from rfcn.evaluation.scored import Scored, Verdicts


def picture_costs(scored: Scored, verdicts: Verdicts) -> Floats:
    """About how much mAP the errors of each picture cost: [P].

    To first order, each error for itself: a false positive at rank r lowers the precision at each
    right detection of its class at a rank k > r, of which t are right up to there, by t / k(k - 1);
    an object of which nothing right was found is a share 1 / N of its class. The mean over the
    classes, as in the mAP; that the curve is made monotonic is left out.
    """
    costs = np.zeros(len(scored.pictures))
    required = scored.required
    classes = np.flatnonzero(required[1:]) + 1
    missed = ~scored.truths.difficult & ~verdicts.found
    for label in classes:
        share = 1 / (required[label] * len(classes))
        mine = np.flatnonzero(verdicts.counts & (scored.labels == label))
        ranked = mine[np.argsort(-scored.detections.scores[mine], kind="stable")]
        lowered = _lowered(verdicts.right[ranked])
        np.add.at(costs, scored.detections.pictures[ranked], share * lowered)
        np.add.at(costs, scored.truths.pictures[missed & (scored.truth_labels == label)], share)
    return costs


def _lowered(right: Bools) -> Floats:
    """What each detection takes from the precisions at the right ones below it; 0 of right ones."""
    rank = np.arange(1, len(right) + 1)
    true = np.cumsum(right)
    at_right = np.divide(
        true, rank * (rank - 1), out=np.zeros(len(right)), where=right & (rank > 1)
    )
    below = np.cumsum(at_right[::-1])[::-1] - at_right
    return np.where(right, 0.0, below)


def describe_picture(
    scored: Scored, verdicts: Verdicts, errors: ErrorTypes, picture: int, score_threshold: float
) -> str:
    """What went wrong in a picture, as `1 poor box, 2 missed`; of detections from a score on."""
    sure = scored.detections.scores >= score_threshold
    here = sure & (scored.detections.pictures == picture)
    counted = errors.counts(here)
    found = np.zeros(len(verdicts.found), dtype=np.bool_)
    found[verdicts.nearest[here & verdicts.right]] = True
    mine = (scored.truths.pictures == picture) & ~scored.truths.difficult
    counted[MISSED] = int((mine & ~found).sum())
    says = [f"{n} {name}" for n, name in zip(counted, TITLES, strict=True) if n]
    return ", ".join(says) or "nothing wrong from this score on"
