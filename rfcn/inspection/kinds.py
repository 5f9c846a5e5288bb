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
    "crowd": Kind("note", "regions of many objects (iscrowd)", "count as difficult: not trained"),
    "unlabelled": Kind("warning", "pictures without a file of labels", "kept, as background"),
    "renumbered": Kind("note", "annotations without an id of their own", "numbered anew"),
    "no area": Kind("note", "annotations without an area", "that of the box is taken"),
    "several": Kind("note", "animations and files of several pages", "the first picture is used"),
    "swapped": Kind("warning", "reversed corners", "put in order"),
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
    "damage": Kind("warning", "JPEGs that decode although they are damaged", "used as they decode"),
    "thin": Kind("warning", "pictures thinner than two cells once resized", "used"),
    "remark": Kind("note", "unusual picture files", "converted to 8-bit RGB"),
    "not trained": Kind("warning", "classes without a box to train on", "never detected"),
    "not measured": Kind("warning", "classes without a box in val", "AP is n/a"),
}


def kinds_of(data: schema.Data) -> dict[str, Kind]:
    """Every kind, as this config treats it."""
    box = _STOPS if data.bad_box == "stop" else "dropped"
    skip = data.unknown_class == "skip"
    picture = "skipped, up to 1 % of them" if data.on_bad_image == "skip" else _STOPS
    left_out = data.missing_annotation == "skip"
    fatal = data.size_mismatch == "stop"
    turn = data.exif == "apply"
    return {
        **_ALWAYS,
        "bad": Kind("fault", "boxes without area", box),
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
        "no annotation": Kind(
            "warning" if left_out else "fault",
            "pictures without an annotation",
            "left out, as data.missing_annotation says" if left_out else _STOPS,
        ),
        "no picture": Kind("fault", "annotations without a picture", picture),
        "bad picture": Kind("fault", "pictures that cannot be read", picture),
        "picture": Kind("fault", "pictures that cannot be decoded", picture),
        "size": Kind(
            "fault" if fatal else "warning",
            "annotated and real size differ",
            _STOPS if fatal else "the real size is used",
        ),
        "transposed": Kind(
            "fault" if fatal else "warning",
            "annotated size is the real one turned by 90 degrees (EXIF)",
            _STOPS if fatal else "the real size is used, boxes as they are",
        ),
        "turned": Kind(
            "note" if turn else "warning",
            "pictures stored turned (EXIF)",
            "turned upright" if turn else "left turned, as data.exif says",
        ),
    }


def kind_named(name: str, kinds: dict[str, Kind]) -> Kind:
    """The kind of this name; one that is not known is a fault under its own name."""
    return kinds.get(name, Kind("fault", name, "see there"))
