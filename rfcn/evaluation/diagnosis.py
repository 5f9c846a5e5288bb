"""Why is the mean AP zero? Scores the detections again under the usual mistakes."""

from collections.abc import Callable

import numpy as np

from rfcn.evaluation.average_precision import (
    ClassDetections,
    ClassTruths,
    Floats,
    Ints,
    best_overlaps,
    voc_ap,
)

NEARLY_ZERO = 0.05
"""A mean AP below this is worth a diagnosis."""
TELLING = 0.2
"""An AP from this on, under a supposed mistake, names that mistake."""
SCALE_SAMPLE = (10, 10)
"""The scale of the boxes is sought in so many pictures, by so many boxes of each."""


FRACTION = 1.5
"""Boxes of which no coordinate is larger are fractions of the sides, not pixels; a little beyond 1
lie those that were not cut at the edge."""
PIXELS = 8
"""Boxes of which one coordinate is larger are in pixels."""

READINGS: dict[str, Callable[[Floats], Floats]] = {
    "(y1, x1, y2, x2)": lambda boxes: boxes[:, [1, 0, 3, 2]],
    "(x, y, width, height)": lambda boxes: np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
    "(centre x, centre y, width, height)": lambda boxes: np.hstack(
        [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    ),
    "(x1, y1, x1 + x2, y1 + y2), corners that were taken for sides,": lambda boxes: np.hstack(
        [boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]
    ),
}
"""What else four numbers may mean, and the corners they then are. (A box whose second corner lies
before its first is refused earlier, so that the sides of most data sets never come so far.)"""


def explain_zero(
    mean_ap: float | None,
    detections: ClassDetections,
    labels: Ints,
    truths: ClassTruths,
    truth_labels: Ints,
    *,
    name: str = "mean AP",
) -> str | None:
    """A paragraph on the likely cause of a mean AP below 0.05, else None.

    detections, truths: those of all classes together; labels: [D] and [G]. name: of the figure.
    """
    if mean_ap is None or mean_ap >= NEARLY_ZERO:
        return None
    says = f"The {name} is {mean_ap:.4f}. "
    if len(labels) == 0:
        return says + (
            "There are no detections at all. Lower the score threshold; if that does not help, the "
            "model has not learned yet or its weights were not loaded."
        )
    for shift in (1, -1):
        if _mean_ap(detections, labels + shift, truths, truth_labels) >= TELLING:
            return says + (
                f"With every label {'raised' if shift > 0 else 'lowered'} by one it would be high: "
                "the labels are shifted. Here label 0 is background and the classes are 1..C."
            )
    agnostic = _agnostic_ap(detections, truths)
    if agnostic >= TELLING:
        return says + (
            f"With the classes ignored the AP is {agnostic:.2f}: the boxes are right and the "
            "classes are wrong. Compare the class list of the weights, and its order, with that of "
            "the data."
        )
    for name, read in READINGS.items():
        if _agnostic_ap(detections._replace(boxes=read(detections.boxes)), truths) >= TELLING:
            return says + (
                f"Read as {name} the boxes would be right: they must be (x1, y1, x2, y2)."
            )
    for shift in (1, -1):
        moved = detections._replace(pictures=detections.pictures + shift)
        if _agnostic_ap(moved, truths) >= TELLING:
            return says + (
                f"They fit the {'next' if shift > 0 else 'previous'} picture of the data set: the "
                "order of the pictures was lost between detector and evaluation."
            )
    return says + (_scale_sentence(detections, truths) or _nothing_found(detections, truths))


def _agnostic_ap(detections: ClassDetections, truths: ClassTruths) -> float:
    (curve,) = voc_ap(detections, truths)
    return curve.ap or 0.0


def _mean_ap(
    detections: ClassDetections, labels: Ints, truths: ClassTruths, truth_labels: Ints
) -> float:
    """The mean AP at IoU 0.5 over the classes that have ground truth."""
    values = []
    for label in np.unique(truth_labels):
        mine = detections.take(labels == label)
        theirs = truths.take(truth_labels == label)
        values += [curve.ap for curve in voc_ap(mine, theirs) if curve.ap is not None]
    return float(np.mean(values)) if values else 0.0


def _scale_sentence(detections: ClassDetections, truths: ClassTruths) -> str | None:
    """Says so when most boxes fit after being scaled, picture by picture, or need no trial."""
    largest = detections.boxes.max()
    if _side(detections.boxes).any() and largest <= FRACTION and truths.boxes.max() > PIXELS:
        return (
            f"No coordinate of a detection is larger than {largest:.3g}: the boxes "
            "are fractions of the sides of the picture. Multiply x by its width and y by its "
            "height; boxes must be in pixels of the original picture."
        )
    fits = []
    for picture in np.unique(truths.pictures)[: SCALE_SAMPLE[0]]:
        in_picture = np.flatnonzero(detections.pictures == picture)
        best = in_picture[np.argsort(-detections.scores[in_picture], kind="stable")]
        boxes = detections.boxes[best[: SCALE_SAMPLE[1]]]
        fits.append(_best_scale(boxes, truths.boxes[truths.pictures == picture]))
    found = np.array([share for share, _ in fits])
    scales = np.array([scale for share, scale in fits if share > 0])
    if found.mean() < 0.5 or 0.9 < np.median(scales) < 1.1:
        return None
    return (
        f"Scaled by about {1 / np.median(scales):.3g} the boxes would be right: they are in pixels "
        "of another size of the picture (of the network's input, or fractions of a side), but must "
        "be in those of the original picture."
    )


def _best_scale(boxes: Floats, truths: Floats) -> tuple[float, float]:
    """The largest share of `truths` that `boxes` cover after one scaling, and that scale."""
    best = (0.0, 1.0)
    sides, true_sides = _side(boxes), _side(truths[: SCALE_SAMPLE[1]])
    for scale in (sides[sides > 0][:, None] / true_sides[true_sides > 0][None]).flatten():
        scaled = ClassDetections(boxes / scale, _side(boxes), np.zeros(len(boxes), dtype=np.int64))
        none_difficult = np.zeros(len(truths), dtype=np.bool_)
        target = ClassTruths(truths, none_difficult, np.zeros(len(truths), dtype=np.int64))
        overlap, nearest = best_overlaps(scaled, target)
        share = len(np.unique(nearest[overlap >= 0.5])) / min(len(truths), len(boxes))
        best = max(best, (share, float(scale)))
    return best


def _side(boxes: Floats) -> Floats:
    return np.sqrt(np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 0))


def _nothing_found(detections: ClassDetections, truths: ClassTruths) -> str:
    overlap, _ = best_overlaps(detections, truths)
    return (
        f"{len(overlap)} detections were scored, the best of them overlaps an object by "
        f"{overlap.max():.2f} (IoU), and neither shifted labels, a wrong class list nor another "
        "scale of the boxes explains it: the model has probably not learned yet. Look at the drawn "
        "training targets and at the loss."
    )
