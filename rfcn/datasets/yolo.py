"""YOLO: a text file of labels beside each picture, as fractions of its sides."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from rfcn.datasets.findings import Findings
from rfcn.datasets.listed import Box, ListedPictures, checked_names, stop_at_unknown
from rfcn.datasets.rules import FILE_NOTES, FileRules
from rfcn.datasets.subset import parse_sets
from rfcn.datasets.yolo_layout import ListedPicture, YOLOFolder, read_folder, read_text
from rfcn.errors import DataError

_SLACK = 0.01
"""By how much a number may leave 0..1 before it is taken for pixels."""
_CUT = 1
"""Pixels by which a box may leave its picture without a word."""
_NOTES = {
    **FILE_NOTES,
    "unlabelled": "Pictures without a file of labels count as pictures without objects",
    "unknown": "Objects of classes that are not listed were skipped",
    "bad": "Boxes without area were dropped",
    "cut": "Boxes that leave their picture were cut to it",
    "repeated": "Pictures listed more than once were used once",
    "outline": "Outlines became the boxes around them",
    "twice": "The same line comes twice in one file; both were kept",
}


class YOLODataset(ListedPictures):
    """The pictures of one or several sets in YOLO's layout, with their objects.

    A line is `class x y width height`, of the centre and the sides as fractions of the picture; or
    `class x y x y x y ...`, an outline, of which the box around it is taken. Classes are numbered
    from 0 as data.yaml or classes.txt lists them. A picture without a file of labels has no object.
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
        """Read every file of labels and the header of every picture.

        sets: names joined by `+`, or parts of them (see `subset`): NAME is the entry of data.yaml,
        images/NAME, NAME/images or the list NAME.txt. classes: the names in label order; or a text
        file with one a line; or None for all of the data's. They are matched by name; where the
        data names no class, its numbers count along `classes`. unknown_class, bad_box: what to do
        with objects of another class, and with boxes without area. files: what to do about broken
        files. findings: collects what is odd;
        a tolerant one also what cannot be read, without which we go on.
        Raises DataError when a file is missing or cannot be understood.
        """
        findings = Findings() if findings is None else findings
        self.files = FileRules() if files is None else files
        folder = read_folder(Path(root))
        own = folder.class_names()
        wanted = own if classes is None else classes
        if wanted is None:
            raise DataError(
                f"{root}: the classes have no names. Write classes.txt, a name a line in the order "
                "of their numbers, or list them as `data.classes`."
            )
        self.class_names = checked_names(wanted)
        named = own or self.class_names
        entries = _read_entries(folder, sets, len(named), self.files, findings)
        self.ids = [entry.id for entry in entries]
        self.paths = [str(entry.picture.path) for entry in entries]
        self.sizes = [entry.size for entry in entries]
        if unknown_class == "stop" and not findings.tolerant:
            objects = ((named[one.number], entry) for entry in entries for one in entry.objects)
            stop_at_unknown(
                ((name, entry.picture.labels) for name, entry in objects), self.class_names
            )
        labels = {name: label for label, name in enumerate(self.class_names, start=1)}
        self._keep(_kept(entry, named, labels, findings) for entry in entries)
        if bad_box == "stop":
            findings.stop_at_bad_boxes()
        self.notes = findings.notes(_NOTES)


@dataclass(frozen=True)
class _Object:
    """One line."""

    line: int
    """From 1."""
    number: int
    """Of its class, from 0."""
    box: Box
    """Corners, as fractions of the picture."""
    outline: bool


@dataclass(frozen=True)
class _Entry:
    """One picture of the data set, before its objects become numbers."""

    id: str
    picture: ListedPicture
    size: tuple[int, int]
    objects: list[_Object]


def _read_entries(
    folder: YOLOFolder, sets: str, classes: int, rules: FileRules, findings: Findings
) -> list[_Entry]:
    """Every picture of the sets, once."""
    parts = parse_sets(sets)
    several = len({part.name for part in parts}) > 1
    listed: dict[Path, tuple[str, ListedPicture]] = {}
    for part in parts:
        pictures = folder.pictures(part.name)
        for index in part.choose([one.name for one in pictures]):
            one = pictures[index]
            if one.path in listed:
                findings.add("repeated", str(one.path), file=one.path)
            listed.setdefault(one.path, (f"{part.name}/{one.name}" if several else one.name, one))
    read_labels = partial(_read_labels, classes=classes, points="kpt_shape" in folder.description)
    twins = Counter(one.labels for _, one in listed.values())
    entries = []
    steps = tqdm(listed.values(), "Reading labels", delay=1, leave=False, disable=None)
    for id_, one in steps:
        with findings.survived(one.path):
            if twins[one.labels] > 1:
                raise DataError(f"{one.labels}: labels of {twins[one.labels]} pictures that differ "
                                "in their suffix only. Rename all but one.")  # fmt: skip
            header = rules.header_of(one.path, findings)
            objects = read_labels(one.labels, findings)
            if header is not None or not findings.tolerant:
                # of one that will be skipped in its turn only the number of objects matters
                size = (1, 1) if header is None else header.size
                entries.append(_Entry(id_, one, size, objects))
    rules.stop_at_too_many(findings, len(entries))
    _missing_labels([one.picture for one in entries], findings)
    return entries


def _missing_labels(pictures: Sequence[ListedPicture], findings: Findings) -> None:
    """Notes the pictures without labels. Raises DataError where none has any."""
    missing = [one for one in pictures if not one.labels.is_file()]
    if pictures and len(missing) == len(pictures) and not findings.tolerant:
        raise DataError(
            f"None of {len(pictures)} pictures has a file of labels; that of "
            f"{missing[0].path} would be {missing[0].labels}. Put the labels there."
        )
    for one in missing:
        findings.add("unlabelled", str(one.path), file=one.path)


def _read_labels(path: Path, findings: Findings, *, classes: int, points: bool) -> list[_Object]:
    """The objects of a file, none where there is no such file. points: the numbers behind a box
    are key points, and not read."""
    if not path.is_file():
        return []
    objects = []
    lines = [line.strip() for line in read_text(path).splitlines()]
    for number, line in enumerate(lines, start=1):
        if line:
            line = " ".join(line.split()[:5]) if points else line
            with findings.survived(path, object=number):
                objects.append(_read_line(line, number, f"{path}:{number}", classes))
    for line, times in Counter(filter(None, lines)).items():
        if times > 1:
            findings.add("twice", f"{path}:{lines.index(line) + 1}", file=path)
    return objects


def _read_line(line: str, number: int, where: str, classes: int) -> _Object:
    """One object. Raises DataError naming file, line and what is wrong with it."""
    first, *rest = line.split()
    shown = line if len(line) <= 60 else f"{line[:57]}..."
    if not first.isdecimal() or len(first) > 9:
        raise DataError(f"{where}: the class is {first!r}. It must be a number from 0.")
    if int(first) >= classes:
        raise DataError(
            f"{where}: the class is {first}, but the {classes} classes are numbered 0 to "
            f"{classes - 1}. Mend the line, or complete the list of names."
        )
    try:
        values = [float(value) for value in rest]
    except ValueError:
        raise DataError(f"{where}: {shown!r} holds what is not a number. Mend it.") from None
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        hint = " A score behind the box makes it a detection, no label." * (len(values) == 5)
        raise DataError(
            f"{where}: {len(values)} numbers behind the class, {shown!r}. A box has 4 (centre x "
            f"and y, width, height), an outline an even number from 6 on.{hint}"
        )
    lowest = (-_SLACK, -_SLACK, -1, -1) if len(values) == 4 else [-_SLACK] * len(values)
    if not all(low <= one <= 1 + _SLACK for low, one in zip(lowest, values, strict=True)):
        raise DataError(
            f"{where}: {shown!r} leaves 0..1. Coordinates are fractions of the picture's sides: "
            "divide pixels by them."
        )
    if len(values) > 4:
        columns, rows = values[0::2], values[1::2]
        return _Object(number, int(first), (min(columns), min(rows), max(columns), max(rows)), True)
    x, y, width, height = values
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return _Object(number, int(first), box, False)


def _kept(
    entry: _Entry, named: Sequence[str], labels: Mapping[str, int], findings: Findings
) -> list[tuple[Box, int, bool]]:
    """(box, label, difficult: never) of the objects of a picture that are kept, cut to it."""
    kept = []
    height, width = entry.size
    for item in entry.objects:
        note = partial(findings.add, file=entry.picture.labels, object=item.line)
        where = f"{entry.picture.labels}:{item.line} ({named[item.number]})"
        if named[item.number] not in labels:
            note("unknown", where)
            continue
        left, top, right, bottom = (
            fraction * side for fraction, side in zip(item.box, (width, height) * 2, strict=True)
        )
        box = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
        if box[2] <= box[0] or box[3] <= box[1]:
            note("bad", where)
            continue
        if min(left, top) < -_CUT or right > width + _CUT or bottom > height + _CUT:
            note("cut", where)
        if item.outline:
            note("outline", where)
        kept.append((box, labels[named[item.number]], False))
    return kept
