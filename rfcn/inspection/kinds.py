"""What can be wrong with data: how bad each kind of it is, and what training does about it."""

from dataclasses import dataclass
from typing import Literal

from rfcn.config import schema

Level = Literal["fault", "warning", "note"]
LEVELS: tuple[Level, ...] = ("fault", "warning", "note")
"""`fault`: training stops at it, or loses data because of it; `warning`: training goes on with it,
and may learn or measure something wrong; `note`: unusual, handled, right as far as one can tell."""

MOST_CUT = 0.01
"""Share of the boxes that may leave their pictures before that is a warning."""


@dataclass(frozen=True)
class Kind:
    """One way to be wrong."""

    level: Level
    title: str
    """What it is, of many."""
    done: str
    """What training does with it."""


_STOPS = "training stops"
_ALWAYS = {
    # the readers'
    "broken": Kind("fault", "cannot be read", _STOPS),
    "no picture": Kind("fault", "annotations without a picture", _STOPS),
    "no annotation": Kind("fault", "pictures without an annotation", _STOPS),
    "category": Kind("fault", "categories that make no sense", _STOPS),
    "listing": Kind("fault", "pictures listed wrongly", _STOPS),
    "annotation": Kind("fault", "annotations that cannot be read", _STOPS),
    "orphan": Kind("fault", "annotations of pictures or categories that are not listed", _STOPS),
    "outside": Kind("fault", "pictures outside of the data folder", _STOPS),
    "corners": Kind(
        "fault",
        "boxes that look like corners where a width and a height belong",
        "taken as written",
    ),
    "fractions": Kind("fault", "boxes that look like fractions of the picture", "taken as written"),
    "repeated": Kind("warning", "listed more than once", "used once"),
    "cut": Kind("note", "boxes that leave their picture", "cut to the picture"),
    "zero": Kind(
        "warning", "boxes that begin at 0 where VOC counts from 1", "moved by a pixel, and cut"
    ),
    "size": Kind("warning", "annotated and real size differ", "the real size is used"),
    "transposed": Kind(
        "warning",
        "annotated size is the real one turned by 90 degrees (EXIF)",
        "upright picture, boxes as they are",
    ),
    "crowd": Kind("note", "regions of many objects (iscrowd)", "count as difficult: not trained"),
    "unlabelled": Kind("warning", "pictures without a file of labels", "kept, as background"),
    "renumbered": Kind("note", "annotations without an id of their own", "numbered anew"),
    "no area": Kind("note", "annotations without an area", "that of the box is taken"),
    "outline": Kind("note", "outlines without a box", "the box around them is taken"),
    # ours
    "nothing": Kind("fault", "sets without a single box to train on", "nothing is learned"),
    "other size": Kind("fault", "pictures of another size than annotated", _STOPS),
    "no box": Kind("note", "pictures without any box", "kept, as background"),
    "difficult": Kind("note", "pictures all of whose boxes are difficult", "kept, as background"),
    "twice": Kind("warning", "the same box twice in one picture", "both are used"),
    "two names": Kind("warning", "one box under two names", "both are used"),
    "twin": Kind("warning", "the same picture more than once", "all are used"),
    "near twin": Kind("note", "pictures that look nearly the same", "all are used"),
    "leak": Kind("warning", "pictures of val that are in train too", "measured, though learned"),
    "near leak": Kind("note", "pictures of val much like one of train", "all are used"),
    "thin": Kind("warning", "pictures thinner than two cells once resized", "used"),
    "turned": Kind("note", "pictures stored turned (EXIF)", "turned upright"),
    "remark": Kind("note", "unusual picture files", "converted to 8-bit RGB"),
    "not trained": Kind("warning", "classes without a box to train on", "never detected"),
    "not measured": Kind("warning", "classes without a box in val", "AP is n/a"),
}


def kinds_of(data: schema.Data) -> dict[str, Kind]:
    """Every kind, as this config treats it."""
    drop = data.bad_box == "drop"
    skip = data.unknown_class == "skip"
    return {
        **_ALWAYS,
        "bad": Kind("fault", "boxes without area", "dropped" if drop else _STOPS),
        "unknown": Kind(
            "warning" if skip else "fault",
            "objects of classes that are not listed",
            "skipped, as data.unknown_class says" if skip else _STOPS,
        ),
        "no category": Kind(
            "warning" if skip else "fault",
            "listed classes that are no category of the files",
            "never seen" if skip else _STOPS,
        ),
        "picture": Kind("fault", "pictures that cannot be decoded", _STOPS),
    }


def kind_named(name: str, kinds: dict[str, Kind]) -> Kind:
    """The kind of this name; one that is not known is a fault under its own name."""
    return kinds.get(name, Kind("fault", name, "see there"))
