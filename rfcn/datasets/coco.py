"""COCO: one JSON file of objects a set, and a folder of pictures."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rfcn.datasets.coco_json import Annotation, COCOFile, Id, Picture, read_coco
from rfcn.datasets.coco_layout import PictureFolders, annotation_file
from rfcn.datasets.findings import Findings
from rfcn.datasets.listed import Box, ListedPictures, checked_names, nearest, stop_at_unknown
from rfcn.datasets.rules import FILE_NOTES, FileRules
from rfcn.datasets.subset import SetPart, parse_sets
from rfcn.errors import DataError

_SLACK = 1
"""Pixels by which a box may leave its picture without a word."""
_NOTES = {
    "no category": "Classes without a category in the files were given ids of their own",
    **FILE_NOTES,
    "unknown": "Objects of classes that are not listed were skipped",
    "bad": "Boxes without area were dropped (COCO's own metric counts those of size 0 as missed)",
    "cut": "Boxes that leave their picture were cut to it",
    "crowd": "Regions of many objects (iscrowd) count as difficult: no training, no fault at test",
    "repeated": "Pictures that several sets have were used once",
    "renumbered": "Annotations whose id was 0, missing or another's got a new one",
    "no area": "Annotations without an area got that of their box",
    "outline": "Annotations without a bbox got the box around their polygons",
    "size": "Annotated and real size of the picture differ; the real one is used",
    "transposed": "The annotated size is the real one turned by 90 degrees: these pictures "
    "carry an EXIF orientation, and their boxes were probably drawn before the turn",
    "twice": "The same box comes twice in one picture; both were kept",
    "corners": "Boxes look like corners (x1, y1, x2, y2), COCO's are x, y, width, height",
    "fractions": "Boxes look like fractions of their picture, COCO's are in pixels",
}
_STOPS = {
    "outside": "{count} pictures cannot be looked for: {places}",
    "no picture": "{count} pictures are missing: {places}. Restore them, or take them off the "
    "file's list of images.",
}


class PictureTruth(NamedTuple):
    """All annotations of one picture as they are written, for COCO's own metric."""

    boxes: np.ndarray
    """[A, 4] float64: x, y, width, height, not cut to the picture; a side may be 0."""
    labels: np.ndarray
    """[A] int64, 1..C."""
    areas: np.ndarray
    """[A] float64: the file's `area`, of the outline where it has one."""
    crowd: np.ndarray
    """[A] bool: `iscrowd`."""
    ids: list[Id]
    """Of the annotations: unique in their file, none of them 0."""


class COCODataset(ListedPictures):
    """The pictures of one or several COCO sets with their objects.

    Boxes (x, y, width, height) become half-open corners, cut to their picture; those without area
    are left out. `iscrowd` is taken for `difficult`: such a region is not trained on, and what is
    detected there is no fault. `annotations` gives what the file says instead, for COCO's metric.
    """

    category_ids: tuple[Id, ...]
    """The file's id of each class: that of label L is category_ids[L - 1]."""
    original_ids: list[Id]
    """The file's id of each picture, beside `ids`, which are texts."""

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
        """Read every annotation and the header of every picture.

        sets: names joined by `+`, or parts of them (see `subset`); where the files of NAME may lie
        is in `coco_layout`. classes: the names in label order; or a text file with one a line; or
        None for the categories in the order of their ids. Classes are matched by name, whatever
        their ids. unknown_class: what to do with objects of another class, and where a listed
        class is no category of the files; bad_box: with boxes without area (`swap` is for
        VOC's corners; here it drops). files: what to do about broken files. findings: collects
        what is odd; a tolerant one also what cannot be read, without which we go on.
        Raises DataError when a file is missing or cannot be understood.
        """
        findings = Findings() if findings is None else findings
        self.files = FileRules() if files is None else files
        parts = parse_sets(sets)
        by_name = {
            name: read_coco(annotation_file(Path(root), name), findings)
            for name in dict.fromkeys(part.name for part in parts)
        }
        entries = _read_entries(Path(root), parts, by_name, self.files, findings)
        content = list(by_name.values())
        strict = unknown_class == "stop" and not findings.tolerant
        self.class_names = _class_names(classes, content)
        self.category_ids = _category_ids(self.class_names, content, findings, strict=strict)
        if strict:
            named = ((one.name, entry.file.path) for entry in entries for one in entry.objects())
            stop_at_unknown(named, self.class_names)
        self.ids = _unique_ids(entries)
        self.original_ids = [entry.picture.id for entry in entries]
        self.paths = [str(entry.path) for entry in entries]
        self.sizes = [entry.size for entry in entries]
        labels = {name: label for label, name in enumerate(self.class_names, start=1)}
        kept = [_kept(entry, labels, findings) for entry in entries]
        self._keep([[one[:3] for one in objects] for objects in kept])
        self._areas = np.array([one[3] for objects in kept for one in objects], dtype=np.float32)
        self._keep_truth(entries, labels)
        _doubt(entries, findings)
        if bad_box == "stop":
            findings.stop_at_bad_boxes()
        self.notes = findings.notes(_NOTES)

    def area(self, index: int) -> Tensor:
        """[G] float32: the file's areas of the objects of `target(index)`, in their order."""
        rows = slice(self._starts[index], self._starts[index + 1])
        return torch.from_numpy(self._areas[rows].copy())

    def annotations(self, index: int) -> PictureTruth:
        """Every annotation of picture number `index` that is of a known class, as it is written:
        not cut, those without area too; NaN alone is left out."""
        rows = slice(self._truth_starts[index], self._truth_starts[index + 1])
        boxes, labels, areas, crowd, ids = self._truth
        return PictureTruth(boxes[rows], labels[rows], areas[rows], crowd[rows], ids[rows])

    def _keep_truth(self, entries: Sequence["_Entry"], labels: Mapping[str, int]) -> None:
        """Flat arrays, of which picture i owns rows starts[i] to starts[i + 1]."""
        found: list[_Object] = []
        starts = [0]
        for entry in entries:
            known = (one for one in entry.objects() if one.name in labels)
            found += [one for one in known if all(map(math.isfinite, one.annotation.box))]
            starts.append(len(found))
        self._truth_starts = np.array(starts)
        self._truth = PictureTruth(
            np.array([one.annotation.box for one in found], np.float64).reshape(-1, 4),
            np.array([labels[one.name] for one in found], np.int64),
            np.array([one.annotation.area for one in found], np.float64),
            np.array([one.annotation.crowd for one in found], bool),
            [one.annotation.id for one in found],
        )


class _Object(NamedTuple):
    """An annotation with the name of its category."""

    annotation: Annotation
    name: str


@dataclass(frozen=True)
class _Entry:
    """One picture of the data set, before its objects become numbers."""

    file: COCOFile
    set_name: str
    picture: Picture
    path: Path
    size: tuple[int, int]

    def objects(self) -> Iterator[_Object]:
        """What is annotated of it."""
        for one in self.file.annotations.get(self.picture.id, ()):
            yield _Object(one, self.file.categories[one.category])


# ---------------------------------------------------------------------------------------- pictures


def _read_entries(
    root: Path,
    parts: Sequence[SetPart],
    files: Mapping[str, COCOFile],
    rules: FileRules,
    findings: Findings,
) -> list[_Entry]:
    """Every picture of the parts, once, in the order of the files."""
    listed: list[tuple[SetPart, COCOFile, Picture]] = []
    for part in parts:
        file = files[part.name]
        pictures = list(file.pictures.values())
        names = [one.file_name.rpartition(".")[0] or one.file_name for one in pictures]
        listed += [(part, file, pictures[index]) for index in part.choose(names)]
    entries: dict[Path, _Entry] = {}
    folders = {name: PictureFolders(root, name) for name in files}
    for part, file, picture in tqdm(listed, "Reading pictures", delay=1, leave=False, disable=None):
        path = _find(picture, file, folders[part.name], findings)
        if path is None:
            continue
        if path in entries:
            findings.add("repeated", f"{picture.id} in {file.path}", file=path, object=picture.id)
            continue
        header = rules.header_of(path, findings, object=picture.id)
        if header is not None:
            entries[path] = _Entry(file, part.name, picture, path, header.size)
            _compare_sizes(entries[path], findings)
        elif not findings.tolerant:
            entries[path] = _Entry(file, part.name, picture, path, picture.size or (1, 1))
    for kind, sentence in _STOPS.items():
        findings.stop_at(kind, sentence)
    rules.stop_at_too_many(findings, len(entries))
    rules.stop_at_sizes(findings)
    return list(entries.values())


def _find(
    picture: Picture, file: COCOFile, folders: PictureFolders, findings: Findings
) -> Path | None:
    """The file of a picture; where there is none, that is a finding."""
    try:
        path = folders.find(picture.file_name)
    except DataError as fault:
        findings.add("outside", f"{file.path}: {fault}", file=file.path, object=picture.id)
        return None
    if path is None:
        tried = ", ".join(dict.fromkeys(str(one) for one in folders.all))
        place = f"{picture.file_name} of {file.path} (looked for in {tried})"
        findings.add("no picture", place, file=file.path, object=picture.id)
    return path


def _compare_sizes(entry: _Entry, findings: Findings) -> None:
    claimed, size = entry.picture.size, entry.size
    if claimed is not None and claimed != size:
        findings.add(
            "transposed" if claimed == size[::-1] else "size",
            f"{entry.file.path} says {claimed[1]} x {claimed[0]} of {entry.picture.file_name}, "
            f"which is {size[1]} x {size[0]}",
            file=entry.path,
            object=entry.picture.id,
        )


def _unique_ids(entries: Sequence[_Entry]) -> list[str]:
    """The ids as texts; where sets number their pictures alike, with the name of the set."""
    ids = [str(entry.picture.id) for entry in entries]
    if len(set(ids)) == len(ids):
        return ids
    return [f"{entry.set_name}/{id_}" for entry, id_ in zip(entries, ids, strict=True)]


# ----------------------------------------------------------------------------------------- classes


def _class_names(classes: Sequence[str] | str | None, files: Sequence[COCOFile]) -> tuple[str, ...]:
    """The names in label order, checked."""
    if classes is not None:
        return checked_names(classes)
    return checked_names(
        list(dict.fromkeys(name for file in files for name in file.categories.values()))
    )


def _category_ids(
    names: Sequence[str], files: Sequence[COCOFile], findings: Findings, *, strict: bool
) -> tuple[Id, ...]:
    """The id of each class in the first file that has it; a new one where none has it, or where
    that id is another class's in an earlier file."""
    there = {name for file in files for name in file.categories.values()}
    missing = [name for name in names if name not in there]
    if missing and strict:
        listed = ", ".join(f"{name!r}{nearest(name, there)}" for name in missing)
        raise DataError(
            f"{', '.join(str(file.path) for file in files)}: no categories of the names {listed}; "
            f"there are {', '.join(sorted(there))}. Mend `data.classes` or the file; or set "
            "`data.unknown_class: skip`, to do without them."
        )
    found: dict[str, Id] = {}
    for file in files:
        for id_, name in file.categories.items():
            if name not in found and id_ not in found.values():
                found[name] = id_
    free = max([0, *(id_ for id_ in found.values() if isinstance(id_, int))])
    for name in names:
        if name not in found:
            free += 1
            found[name] = free
            findings.add("no category", f"{name!r} as {free}")
    return tuple(found[name] for name in names)


# ----------------------------------------------------------------------------------------- objects


def _kept(
    entry: _Entry, labels: Mapping[str, int], findings: Findings
) -> list[tuple[Box, int, bool, float]]:
    """(box, label, crowd, area) of the objects of a picture that are kept, cut to it."""
    kept = []
    height, width = entry.size
    for item, name in entry.objects():
        note = partial(findings.add, file=entry.file.path, object=item.id)
        where = f"annotation {item.id} ({name}) of {entry.path.name}"
        if name not in labels:
            note("unknown", where)
            continue
        x, y, w, h = item.box
        box = (max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height))
        if not all(map(math.isfinite, item.box)) or box[2] <= box[0] or box[3] <= box[1]:
            note("bad", f"{where} at {x:g} {y:g} {w:g} {h:g}")
            continue
        if min(x, y) < -_SLACK or x + w > width + _SLACK or y + h > height + _SLACK:
            note("cut", f"{where} at {x:g} {y:g} {w:g} {h:g}")
        if item.crowd:
            note("crowd", where)
        kept.append((box, labels[name], item.crowd, item.area))
    twice = Counter((one.annotation.box, one.name) for one in entry.objects())
    for (xywh, name), times in twice.items():
        if times > 1:
            place = f"{name} at {' '.join(f'{one:g}' for one in xywh)} in {entry.path.name}"
            findings.add("twice", place, file=entry.path, object=entry.picture.id)
    return kept


def _doubt(entries: Sequence[_Entry], findings: Findings) -> None:
    """Whether most boxes would make sense, were they written otherwise than COCO's."""
    rows = [
        (*one.annotation.box, *entry.size[::-1]) for entry in entries for one in entry.objects()
    ]
    if not rows:
        return
    x, y, w, h, width, height = np.array(rows, np.float64).T
    leave = (x + w > width + _SLACK) | (y + h > height + _SLACK)
    corners = (w > x) & (h > y) & (w <= width + _SLACK) & (h <= height + _SLACK)
    if leave.mean() > 0.5 and corners.mean() > 0.95:
        findings.add("corners", f"{leave.sum()} of {len(rows)} leave their picture")
    if (np.maximum(x + w, y + h) <= 1.001).all():
        findings.add("fractions", f"none of {len(rows)} reaches beyond the first pixel")
