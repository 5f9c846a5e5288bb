"""All detections and all truths of a data set side by side, and which detections are right.

What an analysis asks is asked of these two, whatever metric the headline is of.

Legend: D detections and G ground-truth boxes of all classes over all pictures, C classes without
background, P pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rfcn.evaluation.average_precision import (
    Bools,
    ClassDetections,
    ClassTruths,
    Floats,
    Ints,
    average_precision,
    best_overlaps,
    judge,
)
from rfcn.structures import Detections, Target


@dataclass(frozen=True)
class Scored:
    """Detections and truths of all classes."""

    class_names: tuple[str, ...]
    """Label L is `class_names[L - 1]`."""
    pictures: tuple[str, ...]
    """The P names of the pictures, by number."""
    detections: ClassDetections
    """[D], in the order of the pictures."""
    labels: Ints
    """[D] 1..C."""
    truths: ClassTruths
    """[G]"""
    truth_labels: Ints
    """[G] 1..C."""

    @property
    def required(self) -> Ints:
        """[C+1] how many truths of each label are to be found: those that are not difficult."""
        return self.count_truths(~self.truths.difficult)

    def count_truths(self, mask: Bools) -> Ints:
        """[C+1] how many truths of a mask [G] there are of each label."""
        return np.bincount(self.truth_labels[mask], minlength=len(self.class_names) + 1)


def gather(
    truths: Mapping[str, Target], found: Mapping[str, Detections], class_names: Sequence[str]
) -> Scored:
    """Both sides in flat arrays. A picture that was never detected on has no detections.

    truths: by picture; found: by picture, of pictures in `truths`.
    """
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    there = [found.get(name, nothing) for name in truths]
    targets = list(truths.values())
    return Scored(
        class_names=tuple(class_names),
        pictures=tuple(truths),
        detections=ClassDetections(
            boxes=_flat([one.boxes for one in there], np.float64).reshape(-1, 4),
            scores=_flat([one.scores for one in there], np.float64),
            pictures=np.repeat(np.arange(len(there)), [len(one) for one in there]),
        ),
        labels=_flat([one.labels for one in there], np.int64),
        truths=ClassTruths(
            boxes=_flat([one.boxes for one in targets], np.float64).reshape(-1, 4),
            difficult=_flat([one.difficult for one in targets], np.bool_),
            pictures=np.repeat(np.arange(len(targets)), [len(one.labels) for one in targets]),
        ),
        truth_labels=_flat([one.labels for one in targets], np.int64),
    )


@dataclass(frozen=True)
class Verdicts:
    """VOC's verdict on every detection at one IoU, all classes together (see `voc_ap`)."""

    iou_threshold: float
    overlap: Floats
    """[D] largest IoU with a truth of the same class and picture, 0 without any."""
    nearest: Ints
    """[D] which truth that is; -1 without any."""
    right: Bools
    """[D] the first to find its truth."""
    counts: Bools
    """[D] all but those on difficult truths."""
    found: Bools
    """[G] truths that a right detection stands for."""

    @property
    def wrong(self) -> Bools:
        """[D] false positives."""
        return self.counts & ~self.right


def judge_all(scored: Scored, iou_threshold: float = 0.5) -> Verdicts:
    """The verdicts on all detections, each class for itself."""
    ranked = np.argsort(-scored.detections.scores, kind="stable")
    # A class of a picture is to the matching what a picture is: nothing outside of it is near.
    classes = len(scored.class_names) + 1
    own = scored.detections.pictures * classes + scored.labels
    true_own = scored.truths.pictures * classes + scored.truth_labels
    truths = scored.truths._replace(pictures=true_own)
    overlap, nearest = best_overlaps(scored.detections._replace(pictures=own), truths)
    right, counts = np.zeros((2, len(ranked)), dtype=np.bool_)
    right[ranked], counts[ranked] = judge(
        overlap[ranked], nearest[ranked], truths.difficult, iou_threshold
    )
    found = np.zeros(len(truths.difficult), dtype=np.bool_)
    found[nearest[right]] = True
    return Verdicts(iou_threshold, overlap, nearest, right, counts, found)


def class_aps(labels: Ints, scores: Floats, right: Bools, required: Ints) -> Floats:
    """The AP by area of each class, [C], 0..1; NaN where nothing is required.

    labels, scores, right: [N], of detections that count, ties of score in the order given;
    required: [C+1].
    """
    ranked = np.lexsort((-scores, labels))
    of_class = np.searchsorted(labels[ranked], np.arange(1, len(required) + 1))
    aps = np.full(len(required) - 1, np.nan)
    for index in np.flatnonzero(required[1:]):
        verdict = right[ranked[of_class[index] : of_class[index + 1]]]
        true = np.cumsum(verdict)
        precision = true / np.arange(1, len(verdict) + 1)
        aps[index] = average_precision(true / required[index + 1], precision)
    return aps


def mean(aps: Floats) -> float | None:
    """The mean over the classes that have an AP, as a metric takes it; None without any."""
    known = aps[~np.isnan(aps)]
    return float(known.mean()) if len(known) else None


def _flat(columns: Sequence[torch.Tensor], dtype: type) -> np.ndarray:
    """Tensors of all pictures in one array."""
    parts = [one.detach().cpu().numpy().reshape(-1) for one in columns]
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
