"""AP of a part of the objects: by size, shape, crowding and place in the picture.

Source: objects outside of a part are ignored, not forbidden, as COCO does for its AP by area (Lin
et al., "Microsoft COCO", 2014, and its evaluation code, whose 32^2 and 96^2 the sizes are).
"""

from dataclasses import dataclass

import numpy as np

from rfcn.evaluation.average_precision import (
    Bools,
    ClassDetections,
    ClassTruths,
    Floats,
    Ints,
    pairs_in_pictures,
)
from rfcn.evaluation.scored import Scored, Verdicts, class_aps, mean

SMALL, LARGE = 32.0**2, 96.0**2
"""Areas in pixels: small lies below the first, large from the second on."""
TALL, WIDE = 2 / 3, 3 / 2
"""Width over height: tall lies below the first, wide from the second on."""
CROWDED_IOU = 0.1
"""Two objects, of whatever classes, that overlap by so much crowd each other."""
MIDDLE = 0.5
"""The middle of a picture is this share of its width and height."""


@dataclass(frozen=True)
class Slice:
    """What was measured of a part of the objects."""

    group: str
    """By what the objects are parted: size, shape, crowding, place."""
    name: str
    truths: int
    """Objects of the part that are to be found."""
    found: int
    """Those of them that a right detection stands for, at whatever score."""
    ap: float | None
    """mAP by area over the classes with objects in the part, 0..1; None without any."""


@dataclass(frozen=True)
class Part:
    """Who belongs to a part: truths [G] and, where they are wrong, detections [D]."""

    group: str
    name: str
    truths: Bools
    detections: Bools


def slice_aps(scored: Scored, verdicts: Verdicts, sizes: Ints) -> list[Slice]:
    """The mAP of each part at the verdicts' IoU. sizes: [P, 2] height and width of the pictures.

    Objects outside of the part are treated as difficult ones. A false positive counts where it
    belongs to the part itself, by its own box; one that repeats an object, where both do.
    """
    return [measure(scored, verdicts, part) for part in parts_of(scored, sizes)]


def measure(scored: Scored, verdicts: Verdicts, part: Part) -> Slice:
    """What of one part was found."""
    on_object = (verdicts.overlap >= verdicts.iou_threshold) & (verdicts.nearest >= 0)
    belongs = part.detections | verdicts.right
    belongs[on_object] &= part.truths[verdicts.nearest[on_object]]
    kept = verdicts.counts & belongs
    asked = part.truths & ~scored.truths.difficult
    aps = class_aps(
        scored.labels[kept],
        scored.detections.scores[kept],
        verdicts.right[kept],
        scored.count_truths(asked),
    )
    found = int((asked & verdicts.found).sum())
    return Slice(part.group, part.name, int(asked.sum()), found, mean(aps))


def parts_of(scored: Scored, sizes: Ints) -> list[Part]:
    """All parts: three sizes, three shapes, alone or crowded, in the middle or at the border."""
    both = scored.truths, scored.detections
    area, shape = [_area(one.boxes) for one in both], [_shape(one.boxes) for one in both]
    crowd = [_touched(scored.truths, scored) > 1, _touched(scored.detections, scored) > 1]
    middle = [_in_middle(one.boxes, sizes[one.pictures]) for one in both]
    masks = {
        ("size", "small"): [one < SMALL for one in area],
        ("size", "medium"): [(one >= SMALL) & (one < LARGE) for one in area],
        ("size", "large"): [one >= LARGE for one in area],
        ("shape", "tall"): [one < TALL for one in shape],
        ("shape", "square"): [(one >= TALL) & (one < WIDE) for one in shape],
        ("shape", "wide"): [one >= WIDE for one in shape],
        ("crowding", "alone"): [~one for one in crowd],
        ("crowding", "crowded"): crowd,
        ("place", "middle"): middle,
        ("place", "border"): [~one for one in middle],
    }
    return [Part(*names, *two) for names, two in masks.items()]


def _area(boxes: Floats) -> Floats:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _shape(boxes: Floats) -> Floats:
    """Width over height; of a box without height infinite."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return np.divide(width, height, out=np.full(len(boxes), np.inf), where=height > 0)


def _touched(boxes: ClassDetections | ClassTruths, scored: Scored) -> Ints:
    """How many objects each box overlaps: [N]. Of a truth itself is one, of a detection the object
    it is meant for; so both lie in a crowd when they overlap two."""
    asking = ClassDetections(boxes.boxes, np.zeros(len(boxes.boxes)), boxes.pictures)
    near = np.zeros(len(boxes.boxes), dtype=np.int64)
    for pairs in pairs_in_pictures(asking, scored.truths):
        near += np.bincount(pairs.detections[pairs.iou >= CROWDED_IOU], minlength=len(near))
    return near


def _in_middle(boxes: Floats, sizes: Ints) -> Bools:
    """Whose centre lies in the middle of its picture."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    extent = sizes[:, ::-1].astype(np.float64)
    inside: Bools = np.abs(centres - extent / 2) <= MIDDLE / 2 * extent
    return inside[:, 0] & inside[:, 1]
