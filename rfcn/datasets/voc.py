"""PASCAL VOC: XML annotations, lists of pictures, JPEGs. All is read anew, nothing is cached."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from rfcn.datasets.image import read_image, read_size
from rfcn.datasets.sample import Sample
from rfcn.datasets.voc_layout import NamedSet, read_sets
from rfcn.datasets.voc_xml import Annotation, Corners, Object, read_annotation
from rfcn.errors import DataError
from rfcn.structures import Target

_SHOWN = 5
"""Examples a message names before it goes on counting."""


@dataclass
class _Findings:
    """What was odd in the files, by kind, with where; turned into notes or into an error."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        self.places.setdefault(kind, []).append(where)

    def __getitem__(self, kind: str) -> list[str]:
        return self.places.get(kind, [])


class VOCDataset:
    """The pictures of one or several VOC sets with their objects.

    Boxes lose 1 from xmin and ymin (the files count from 1 and include their last pixel), so the
    whole picture is (0, 0, W, H). `notes` says in sentences what was dropped, cut or looks odd.
    """

    def __init__(
        self,
        root: str | Path,
        sets: str,
        *,
        classes: Sequence[str] | str | None = None,
        unknown_class: Literal["stop", "skip"] = "stop",
        bad_box: Literal["stop", "drop"] = "drop",
    ) -> None:
        """Read every annotation and the header of every picture.

        sets: names joined by `+`, see `read_sets`. classes: the names in label order; or a text
        file with one a line; or None for those found in the annotations, sorted. unknown_class,
        bad_box: what to do with objects of another class, and with boxes without area.
        Raises DataError when a file is missing or cannot be understood.
        """
        findings = _Findings()
        entries = _read_entries(read_sets(Path(root), sets), findings)
        self.ids = [entry.id for entry in entries]
        self.paths = [str(entry.picture) for entry in entries]
        self.sizes = [entry.size for entry in entries]
        self.class_names = _class_names(classes, entries)
        self._fill(entries, findings)
        if unknown_class == "stop":
            _stop_at_unknown(entries, self.class_names)
        if bad_box == "stop" and findings["bad"]:
            raise DataError(
                f"{len(findings['bad'])} boxes have no area: "
                f"{_some(findings['bad'])}. Mend them, or set `data.bad_box: drop`."
            )
        self.notes = _notes(findings, len(self._labels))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Picture number `index` (0-based) with all its objects, the difficult ones marked."""
        path = self.paths[index]
        image = read_image(path)
        if image.shape[:2] != self.sizes[index]:
            raise DataError(
                f"{path}: the picture changed its size after the data set was read. Start again."
            )
        return Sample(image, self.target(index), self.ids[index], Path(path))

    def target(self, index: int) -> Target:
        """The objects of picture number `index`, without decoding it."""
        rows = slice(self._starts[index], self._starts[index + 1])
        return Target(
            boxes=torch.from_numpy(self._boxes[rows].copy()),
            labels=torch.from_numpy(self._labels[rows].copy()),
            difficult=torch.from_numpy(self._difficult[rows].copy()),
        )

    def _fill(self, entries: "list[_Entry]", findings: _Findings) -> None:
        """Flat arrays of all kept objects; picture i owns rows starts[i] to starts[i + 1]."""
        labels = {name: label for label, name in enumerate(self.class_names, start=1)}
        kept: list[tuple[Corners, int, bool]] = []
        starts = [0]
        for entry in entries:
            for number, item in enumerate(entry.annotation.objects, start=1):
                where = f"{entry.file}, object {number} ({item.name})"
                if item.name not in labels:
                    findings.add("unknown", f"{item.name!r} in {where}")
                    continue
                box = _box_in_picture(item, entry.size, where, findings)
                if box is not None:
                    kept.append((box, labels[item.name], item.difficult))
            starts.append(len(kept))
        self._starts = np.array(starts)
        self._boxes = np.array([box for box, _, _ in kept], dtype=np.float32).reshape(-1, 4)
        self._labels = np.array([label for _, label, _ in kept], dtype=np.int64)
        self._difficult = np.array([flag for _, _, flag in kept], dtype=bool)


@dataclass(frozen=True)
class _Entry:
    """One picture of the data set, before its objects become numbers."""

    id: str
    file: Path
    """Of the annotation."""
    annotation: Annotation
    picture: Path
    size: tuple[int, int]


def _read_entries(sets: list[NamedSet], findings: _Findings) -> list[_Entry]:
    """Every picture of the sets, once, in the order of the lists."""
    several = len({one.folder.path for one in sets}) > 1
    listed: dict[str, tuple[NamedSet, str]] = {}
    for one in sets:
        for name in one.names:
            listed.setdefault(f"{one.folder.path.name}/{name}" if several else name, (one, name))
        if one.repeated:
            findings.add("repeated", f"{one.repeated} in {one.list_file}")
    files = _annotation_files(list(listed.values()))
    entries: list[_Entry] = []
    tried: list[str] = []
    steps = tqdm(listed.items(), "Reading annotations", delay=1, leave=False, disable=None)
    for file, (id_, (one, name)) in zip(files, steps, strict=True):
        annotation = read_annotation(file)
        picture = one.folder.picture(name, annotation.filename, file)
        if picture is None:
            tried.append(f"{one.folder.path / 'JPEGImages' / name}.jpg")
            continue
        entries.append(_Entry(id_, file, annotation, picture, read_size(picture)))
        _compare_sizes(entries[-1], findings)
    if tried:
        raise DataError(
            f"{len(tried)} pictures are missing: {_some(tried)}; .jpeg, .png and other "
            "extensions, and the annotations' <filename>, were tried too. Restore "
            "them, or take their names off the list."
        )
    return entries


def _annotation_files(listed: list[tuple[NamedSet, str]]) -> list[Path]:
    """The annotation of each picture; raises DataError when one is missing."""
    files = [one.folder.annotation(name) for one, name in listed]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} annotations are missing: {_some(missing)}. "
            "Restore them, or take their names off the list. (A picture without "
            "objects has an annotation without <object>.)"
        )
    return files


def _compare_sizes(entry: _Entry, findings: _Findings) -> None:
    claimed = entry.annotation.size
    if claimed is not None and claimed != entry.size:
        kind = "transposed" if claimed == entry.size[::-1] else "size"
        findings.add(
            kind,
            f"{entry.file} says {claimed[1]} x {claimed[0]}, the picture is "
            f"{entry.size[1]} x {entry.size[0]}",
        )


def _box_in_picture(
    item: Object, size: tuple[int, int], where: str, findings: _Findings
) -> Corners | None:
    """The box in our convention, cut to the picture; None when nothing of it is left."""
    xmin, ymin, xmax, ymax = item.corners
    height, width = size
    place = f"{where} at {xmin:g} {ymin:g} {xmax:g} {ymax:g}"
    if xmin == 0 or ymin == 0:
        findings.add("zero", place)
    box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
    if xmax <= xmin or ymax <= ymin or box[2] <= box[0] or box[3] <= box[1]:
        findings.add("bad", place)
        return None
    if xmin < 0 or ymin < 0 or xmax > width or ymax > height:
        findings.add("cut", place)
    return box


def _class_names(classes: Sequence[str] | str | None, entries: list[_Entry]) -> tuple[str, ...]:
    """The names in label order, checked."""
    if classes is None:
        found = {item.name for entry in entries for item in entry.annotation.objects}
        if not found:
            raise DataError(
                f"None of the {len(entries)} pictures has an object, so there are no "
                "classes to be found. List them as `data.classes`."
            )
        return tuple(sorted(found))
    source = "`data.classes`"
    if isinstance(classes, str):
        source, classes = classes, _read_classes(Path(classes))
    names = tuple(classes)
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if not names or "" in names or repeated:
        fault = f"{', '.join(repeated)} twice" if any(repeated) else "no or empty names"
        raise DataError(f"{source}: a list of classes with {fault}. List each name once.")
    return names


def _read_classes(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"`data.classes`: {path} cannot be read as a text file with one class name "
            f"a line ({fault}). (A single class is written [{path}].)"
        ) from None
    return [line.strip() for line in lines if line.strip()]


def _stop_at_unknown(entries: list[_Entry], known: tuple[str, ...]) -> None:
    count = Counter(
        item.name
        for entry in entries
        for item in entry.annotation.objects
        if item.name not in known
    )
    if not count:
        return
    first = next(
        entry.file
        for entry in entries
        if any(item.name not in known for item in entry.annotation.objects)
    )
    listed = ", ".join(f"{name!r} ({n} objects{_near(name, known)})" for name, n in count.items())
    raise DataError(
        f"Classes in the annotations that are not among the {len(known)} known ones: "
        f"{listed}; first in {first}. Add them to `data.classes`, mend the files, or "
        "set `data.unknown_class: skip`."
    )


def _near(name: str, known: tuple[str, ...]) -> str:
    lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), lower, n=1)
    return f", nearest {lower[near[0]]!r}" if near else ""


def _notes(findings: _Findings, boxes: int) -> list[str]:
    """One sentence a kind of finding; kinds without any are left out."""
    sentences = {
        "repeated": "Names listed more than once were used once",
        "unknown": "Objects of classes that are not listed were skipped",
        "bad": "Boxes without area were dropped",
        "cut": "Boxes that leave their picture were cut to it",
        "zero": f"Of {boxes} boxes, some begin at 0: the set looks 0-based, VOC counts from 1",
        "size": "Annotated and real size of the picture differ; the real one is used",
        "transposed": "The annotated size is the real one turned by 90 degrees: these pictures "
        "carry an EXIF orientation, and their boxes were probably drawn before the turn",
    }
    return [
        f"{sentence}: {len(findings[kind])} ({_some(findings[kind])})."
        for kind, sentence in sentences.items()
        if findings[kind]
    ]


def _some(places: list[str]) -> str:
    """The first few, and how many more."""
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
