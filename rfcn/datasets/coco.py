"""COCO: one JSON file of objects a set, and a folder of pictures."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rfcn.datasets.findings import Findings, some
from rfcn.datasets.listed import Box, ListedPictures, checked_names, stop_at_unknown
from rfcn.datasets.rules import FileRules
from rfcn.errors import DataError

_SPLIT = re.compile(r"(?:train|val|test)\d{4}")
"""The folder of pictures, in the name of a set such as `minival2014`."""
_SLACK = 1
"""Pixels by which a box may leave its picture without a word."""
_KINDS = {
    "unknown": "Objects of classes that are not listed were skipped",
    "bad": "Boxes without area were dropped",
    "cut": "Boxes that leave their picture were cut to it",
    "crowd": "Regions of many objects (iscrowd) count as difficult: no training, no fault at test",
    "repeated": "Pictures that several sets have were used once",
}


class COCODataset(ListedPictures):
    """The pictures of one or several COCO sets with their objects.

    Boxes (x, y, width, height) become half-open corners. `iscrowd` is taken for `difficult`: such a
    region is not trained on, and what is detected there is no fault. The id of a picture is its
    number. Segmentations are not read.
    """

    def __init__(
        self,
        root: str | Path,
        sets: str,
        *,
        classes: Sequence[str] | str | None = None,
        unknown_class: Literal["stop", "skip"] = "stop",
        bad_box: Literal["stop", "drop", "swap"] = "drop",
        files: FileRules | None = None,
        findings: Findings | None = None,
    ) -> None:
        """Read every annotation; sizes are those that the files state.

        sets: names joined by `+`; NAME is annotations/instances_NAME.json, its pictures lie in
        NAME/, in the folder of its split (train2017/) or in images/. classes: the names in label
        order; or a text file with one a line; or None for the categories in the order of their
        ids. unknown_class, bad_box: what to do with objects of another class, and with boxes
        without area.
        Raises DataError when a file is missing or cannot be understood.
        """
        findings = Findings() if findings is None else findings
        self.files = FileRules() if files is None else files
        read = [_read_set(Path(root), name.strip()) for name in sets.split("+")]
        self.class_names = _class_names(classes, read)
        pictures: dict[int, _Picture] = {}
        for one in read:
            for number, picture in one.pictures.items():
                if pictures.setdefault(number, picture) is not picture:
                    findings.add("repeated", f"{number} in {one.file}")
        self.ids = [str(number) for number in pictures]
        self.paths = [str(one.path) for one in pictures.values()]
        self.sizes = [one.size for one in pictures.values()]
        if unknown_class == "stop" and not findings.tolerant:
            named = ((item.name, one.file) for one in read for item in one.objects())
            stop_at_unknown(named, self.class_names)
        labels = {name: label for label, name in enumerate(self.class_names, start=1)}
        self._keep(_kept(one, labels, findings) for one in pictures.values())
        if bad_box == "stop":
            findings.stop_at_bad_boxes()
        self.notes = findings.notes(_KINDS)


@dataclass(frozen=True)
class _Object:
    """One annotation."""

    number: int
    name: str
    bbox: Box
    crowd: bool


@dataclass(frozen=True)
class _Picture:
    """One picture with its annotations."""

    path: Path
    size: tuple[int, int]
    objects: list[_Object] = field(default_factory=list)


@dataclass(frozen=True)
class _Set:
    """One file."""

    file: Path
    names: list[str]
    """Of its categories, by their ids."""
    pictures: dict[int, _Picture]

    def objects(self) -> Iterator[_Object]:
        """Of all its pictures."""
        return (item for one in self.pictures.values() for item in one.objects)


def _read_set(root: Path, name: str) -> _Set:
    """A set, its annotations laid beside their pictures."""
    file = root / "annotations" / f"instances_{name}.json"
    content = _read_json(file, root)
    try:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        pictures = _pictures(content["images"], root, name, file)
        for one in content["annotations"]:
            x, y, width, height = map(float, one["bbox"])
            item = _Object(one["id"], names[one["category_id"]], (x, y, width, height),
                           bool(one.get("iscrowd", 0)))  # fmt: skip
            pictures[one["image_id"]].objects.append(item)
    except (KeyError, TypeError, ValueError) as fault:
        raise DataError(
            f"{file}: not annotations of objects in COCO's format ({type(fault).__name__}: "
            f"{fault}). Expected are images, annotations and categories that refer to each other "
            "by id; results and test sets (image_info_*.json) have no objects to learn from."
        ) from None
    if not pictures:
        raise DataError(f"{file}: the file has 0 pictures. Is it complete?")
    return _Set(file, [names[one] for one in sorted(names)], pictures)


def _read_json(file: Path, root: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        there = sorted(
            path.stem.removeprefix("instances_")
            for path in root.glob("annotations/instances_*.json")
        )
        sets = f"Sets in {root}: {', '.join(there)}." if there else (
            f"There is none in {root}: expected are annotations/instances_NAME.json and NAME/*.jpg."
        )  # fmt: skip
        raise DataError(f"{file}: there is no such file. {sets}") from None
    except (OSError, ValueError) as fault:
        raise DataError(
            f"{file}: cannot be read as JSON ({fault}). Copy it anew from its source."
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: a list, where COCO's annotations are an object. Is it a result?")
    return content


def _pictures(images: Sequence[Any], root: Path, name: str, file: Path) -> dict[int, _Picture]:
    """The pictures of a set by their numbers, without objects."""
    folders = [
        root / folder
        for part in (name, *_SPLIT.findall(name)[-1:])
        for folder in (part, f"images/{part}")
    ]
    folders += [root / "images", root]
    found, missing = {}, []
    for one in images:
        relative = Path(one["file_name"])
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(
                f"{file}: the picture {relative} lies outside of {root}. Mend the name."
            )
        path = next((path for path in (one / relative for one in folders) if path.is_file()), None)
        if path is None:
            missing.append(str(relative))
            continue
        found[int(one["id"])] = _Picture(path, (int(one["height"]), int(one["width"])))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} pictures of {file} are missing: {some(missing)}; "
            f"looked for in {', '.join(str(one) for one in folders)}. Restore them."
        )
    return found


def _class_names(classes: Sequence[str] | str | None, sets: Sequence[_Set]) -> tuple[str, ...]:
    """The names in label order, checked."""
    if classes is None:
        return checked_names(list(dict.fromkeys(name for one in sets for name in one.names)))
    return checked_names(classes)


def _kept(
    picture: _Picture, labels: dict[str, int], findings: Findings
) -> list[tuple[Box, int, bool]]:
    """The objects of a picture that are kept, cut to it."""
    kept = []
    height, width = picture.size
    for item in picture.objects:
        where = f"annotation {item.number} ({item.name}) of {picture.path.name}"
        if item.name not in labels:
            findings.add("unknown", where)
            continue
        x, y, w, h = item.bbox
        box = (max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height))
        if not all(map(math.isfinite, item.bbox)) or box[2] <= box[0] or box[3] <= box[1]:
            findings.add("bad", f"{where} at {x:g} {y:g} {w:g} {h:g}")
            continue
        if min(x, y) < -_SLACK or x + w > width + _SLACK or y + h > height + _SLACK:
            findings.add("cut", f"{where} at {x:g} {y:g} {w:g} {h:g}")
        if item.crowd:
            findings.add("crowd", where)
        kept.append((box, labels[item.name], item.crowd))
    return kept
