"""How many objects the proposals cover: the upper bound of a two-stage detector.

Source: Hosang et al., "What makes for effective detection proposals?", TPAMI 2016: recall over the
number of proposals at several IoUs, and average recall, its mean over IoU 0.5 to 0.95.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rfcn.evaluation.average_precision import (
    ClassDetections,
    ClassTruths,
    Floats,
    Ints,
    pairs_in_pictures,
)
from rfcn.evaluation.slices import LARGE, SMALL

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000)
IOUS: Floats = np.arange(10, 20) / 20
"""0.5, 0.55, ..., 0.95, each the float nearest to it."""


@dataclass(frozen=True)
class ProposalRecall:
    """The share of objects that one of the first n proposals of their picture covers."""

    counts: tuple[int, ...]
    """The K numbers n."""
    recall: Floats
    """[K, 10] at each IoU of `IOUS`; NaN without objects."""
    by_size: Mapping[str, Floats]
    """[K] average recall of small, medium and large objects; NaN where there are none."""
    truths: int
    """Objects, the difficult ones left out."""
    proposals: float
    """Proposals a picture, on average."""

    @property
    def average(self) -> Floats:
        """[K] average recall: the mean over the IoUs."""
        return self.recall.mean(axis=1)


def proposal_recall(
    proposals: Sequence[Floats], truths: ClassTruths, *, most: int
) -> ProposalRecall:
    """Recall by number of proposals, up to `most`.

    proposals: [P_i, 4] of each picture, best first, in the pixels of `truths`. An object is covered
    by the proposal that it overlaps most, even if that covers another one, too. Difficult objects
    are left out.
    """
    asked = truths.take(~truths.difficult)
    counts = (*(count for count in COUNTS if count < most), most)
    best = np.zeros((len(counts), len(asked.pictures)))
    order = np.argsort(asked.pictures, kind="stable")
    starts = np.searchsorted(asked.pictures[order], np.arange(len(proposals) + 1))
    for picture, boxes in enumerate(proposals):
        rows = order[starts[picture] : starts[picture + 1]]
        best[:, rows] = _best_of_first(boxes[:most], asked.take(rows), counts)
    area = np.prod(asked.boxes[:, 2:] - asked.boxes[:, :2], axis=1)
    sizes = {
        "small": area < SMALL,
        "medium": (area >= SMALL) & (area < LARGE),
        "large": area >= LARGE,
    }
    return ProposalRecall(
        counts=counts,
        recall=_recall(best),
        by_size={name: _recall(best[:, mask]).mean(axis=1) for name, mask in sizes.items()},
        truths=len(asked.pictures),
        proposals=float(np.mean([min(len(one), most) for one in proposals] or [0])),
    )


def _best_of_first(boxes: Floats, objects: ClassTruths, counts: Sequence[int]) -> Floats:
    """The largest IoU of each object of one picture with the first n boxes: [K, G]."""
    here: Ints = np.zeros(len(boxes), dtype=np.int64)
    asking = ClassDetections(boxes.astype(np.float64), here.astype(np.float64), here)
    there = objects._replace(pictures=np.zeros(len(objects.pictures), dtype=np.int64))
    parts = [pairs.iou for pairs in pairs_in_pictures(asking, there)]
    if not parts:
        return np.zeros((len(counts), len(objects.pictures)))
    overlaps = np.concatenate(parts).reshape(len(boxes), -1)
    upto = np.maximum.accumulate(overlaps, axis=0)
    return upto[np.minimum(np.array(counts), len(boxes)) - 1]


def _recall(best: Floats) -> Floats:
    """[K, G] largest IoUs -> [K, 10] shares."""
    if best.shape[1] == 0:
        return np.full((len(best), len(IOUS)), np.nan)
    return (best[:, :, None] >= IOUS).mean(axis=1)
