"""PASCAL VOC: XML annotations, lists of pictures, JPEGs. All is read anew, nothing is cached."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from rfcn.datasets.findings import Findings
from rfcn.datasets.image import Header
from rfcn.datasets.listed import Box, ListedPictures, checked_names, stop_at_unknown
from rfcn.datasets.rules import FILE_NOTES, FileRules
from rfcn.datasets.voc_layout import NamedSet, read_sets
from rfcn.datasets.voc_xml import Annotation, Corners, Object, read_annotation
from rfcn.errors import DataError

MANY_CUT = 0.01
"""A larger share of boxes that leave their picture is worth a warning."""


class VOCDataset(ListedPictures):
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
        bad_box: Literal["stop", "drop", "swap"] = "drop",
        files: FileRules | None = None,
        findings: Findings | None = None,
    ) -> None:
        """Read every annotation and the header of every picture.

        sets: names joined by `+`, see `read_sets`. classes: the names in label order; or a text
        file with one a line; or None for those found in the annotations, sorted. unknown_class,
        bad_box: what to do with objects of another class, and with boxes without area; `swap` puts
        reversed corners in order and drops what has no area then. files: what to do about missing
        and broken files. findings: collects what is odd; a tolerant one also what cannot be read,
        without which we go on.
        Raises DataError when a file is missing or cannot be understood.
        """
        findings = Findings() if findings is None else findings
        self.files = FileRules() if files is None else files
        entries = _read_entries(read_sets(Path(root), sets, findings), self.files, findings)
        self.ids = [entry.id for entry in entries]
        self.paths = [str(entry.picture) for entry in entries]
        self.sizes = [entry.size for entry in entries]
        self.class_names = ()
        with findings.survived(root):
            self.class_names = _class_names(classes, entries)
        self._labels_of = {name: label for label, name in enumerate(self.class_names, start=1)}
        swap = bad_box == "swap"
        self._keep([self._objects(entry, findings, swap=swap) for entry in entries])
        if unknown_class == "stop" and not findings.tolerant:
            named = ((one.name, entry.file) for entry in entries for one in entry.objects)
            stop_at_unknown(named, self.class_names)
        if bad_box == "stop":
            findings.stop_at_bad_boxes()
        self.notes = _notes(findings, len(self._labels))

    def _objects(
        self, entry: "_Entry", findings: Findings, *, swap: bool
    ) -> list[tuple[Box, int, bool]]:
        """The objects of a picture that are kept."""
        kept = []
        for item in entry.objects:
            note = partial(findings.add, file=entry.file, object=item.number)
            where = f"{entry.file}, object {item.number} ({item.name})"
            if item.name not in self._labels_of:
                note("unknown", f"{item.name!r} in {where}")
                continue
            corners = _in_order(item.corners, where, note) if swap else item.corners
            box = _box_in_picture(corners, entry.size, where, note)
            if box is not None:
                kept.append((box, self._labels_of[item.name], item.difficult))
        return kept


@dataclass(frozen=True)
class _Entry:
    """One picture of the data set, before its objects become numbers."""

    id: str
    file: Path
    """Of the annotation."""
    annotation: Annotation
    picture: Path
    size: tuple[int, int]

    @property
    def objects(self) -> Sequence[Object]:
        """What is annotated of it."""
        return self.annotation.objects


def _read_entries(sets: list[NamedSet], rules: FileRules, findings: Findings) -> list[_Entry]:
    """Every picture of the sets, once, in the order of the lists."""
    several = len({one.folder.path for one in sets}) > 1
    listed: dict[str, tuple[NamedSet, str]] = {}
    for one in sets:
        for name in one.names:
            listed.setdefault(f"{one.folder.path.name}/{name}" if several else name, (one, name))
        if one.repeated:
            findings.add("repeated", f"{one.repeated} in {one.list_file}", file=one.list_file)
    for folder in {one.folder.path: one.folder for one in sets}.values():
        with findings.survived(folder.path):
            folder.check()
    files = _annotation_files(listed, rules, findings)
    steps = tqdm(files.items(), "Reading annotations", delay=1, leave=False, disable=None)
    found = [_read_entry(id_, file, *listed[id_], rules, findings) for id_, file in steps]
    _stop_where_the_rules_say(rules, len(found), findings)
    return [entry for entry in found if entry is not None]


def _stop_where_the_rules_say(rules: FileRules, pictures: int, findings: Findings) -> None:
    """Raises DataError for what was found of the files, unless `findings` is tolerant."""
    if not rules.skips:
        findings.stop_at(
            "no picture",
            "{count} pictures are missing: {places}; .jpeg, .png and other extensions, and the "
            "annotations' <filename>, were tried too. Restore them, take their names off the list, "
            "or set `data.on_bad_image: skip`.",
        )
    rules.stop_at_too_many(findings, pictures)
    rules.stop_at_sizes(findings)


def _read_entry(
    id_: str, file: Path, of_set: NamedSet, name: str, rules: FileRules, findings: Findings
) -> _Entry | None:
    """One picture; None where it is missing, or cannot be read and `findings` is tolerant. Then
    all that can be said of it is found: of its annotation, and of the picture itself."""
    annotation = picture = header = None
    missing = of_set.folder.path / "JPEGImages" / f"{name}.jpg"
    with findings.survived(file):
        annotation = read_annotation(file, findings)
    with findings.survived(file):
        picture = of_set.folder.picture(name, annotation.filename if annotation else None, file)
        if picture is None:
            findings.add("no picture", str(missing), file=file)
    if picture is not None:
        header = rules.header_of(picture, findings)
    if annotation is None:
        return None
    if header is None:
        # To be skipped when its turn comes, and by an evaluation to be counted as not detected on.
        skips = rules.skips and not findings.tolerant
        size = annotation.size or _reach(annotation.objects)
        return _Entry(id_, file, annotation, picture or missing, size) if skips else None
    entry = _Entry(id_, file, annotation, picture or missing, header.size)
    _compare_sizes(entry, header, findings)
    return entry


def _reach(objects: Sequence[Object]) -> tuple[int, int]:
    """(height, width) of the smallest picture that holds all objects."""
    ends = [(1.0, 1.0), *((max(box[1::2]), max(box[::2])) for box in (o.corners for o in objects))]
    return math.ceil(max(y for y, _ in ends)), math.ceil(max(x for _, x in ends))


def _annotation_files(
    listed: dict[str, tuple[NamedSet, str]], rules: FileRules, findings: Findings
) -> dict[str, Path]:
    """The annotation of each picture, by id; raises DataError when one is missing, or all are."""
    files = {}
    for id_, (one, name) in listed.items():
        with findings.survived(one.list_file):
            files[id_] = one.folder.annotation(name)
    missing = {id_: file for id_, file in files.items() if not file.is_file()}
    for file in missing.values():
        findings.add("no annotation", str(file), file=file)
    if rules.missing_annotation == "stop" or len(missing) == len(files):
        findings.stop_at(
            "no annotation",
            f"{{count}} of {len(files)} annotations are missing: {{places}}. Restore them, take "
            "their names off the list, or set `data.missing_annotation: skip`. (A picture without "
            "objects has an annotation without <object>.)",
        )
    return {id_: file for id_, file in files.items() if id_ not in missing}


def _compare_sizes(entry: _Entry, header: Header, findings: Findings) -> None:
    claimed = entry.annotation.size
    if claimed is not None and claimed != entry.size:
        transposed = claimed == entry.size[::-1]
        turned = f" (EXIF orientation {header.orientation})" if header.orientation > 1 else ""
        findings.add(
            "transposed" if transposed else "size",
            f"{entry.file} says {claimed[1]} x {claimed[0]}, the picture is "
            f"{entry.size[1]} x {entry.size[0]}{turned}",
            file=entry.file,
        )


def _in_order(corners: Corners, where: str, note: Callable[[str, str], None]) -> Corners:
    """The corners with the smaller coordinates first."""
    xmin, ymin, xmax, ymax = corners
    if xmin <= xmax and ymin <= ymax:
        return corners
    note("swapped", f"{where} at {xmin:g} {ymin:g} {xmax:g} {ymax:g}")
    return min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)


def _box_in_picture(
    corners: Corners, size: tuple[int, int], where: str, note: Callable[[str, str], None]
) -> Box | None:
    """The box in our convention, cut to the picture; None when nothing of it is left."""
    xmin, ymin, xmax, ymax = corners
    height, width = size
    place = f"{where} at {xmin:g} {ymin:g} {xmax:g} {ymax:g}"
    if xmin == 0 or ymin == 0:
        note("zero", place)
    box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
    if xmax <= xmin or ymax <= ymin or box[2] <= box[0] or box[3] <= box[1]:
        note("bad", place)
        return None
    if xmin < 0 or ymin < 0 or xmax > width or ymax > height:
        note("cut", place)
    return box


def _class_names(classes: Sequence[str] | str | None, entries: list[_Entry]) -> tuple[str, ...]:
    """The names in label order, checked."""
    if classes is None:
        found = {item.name for entry in entries for item in entry.objects}
        if not found:
            raise DataError(
                f"None of the {len(entries)} pictures has an object, so there are no "
                "classes to be found. List them as `data.classes`."
            )
        return tuple(sorted(found))
    return checked_names(classes)


def _notes(findings: Findings, boxes: int) -> list[str]:
    """One sentence a kind of finding; kinds without any are left out."""
    sentences = {
        "repeated": "Names listed more than once were used once",
        "no annotation": "Listed pictures without annotation were left out",
        **FILE_NOTES,
        "unknown": "Objects of classes that are not listed were skipped",
        "swapped": "Reversed corners were put in order",
        "bad": "Boxes without area were dropped",
        "cut": "Boxes that leave their picture were cut to it",
        "zero": f"Of {boxes} boxes, some begin at 0: the set looks 0-based, VOC counts from 1",
        "size": "Annotated and real size of the picture differ; the real one is used",
        "transposed": "The annotated size is the real one turned by 90 degrees: these pictures "
        "carry an EXIF orientation, and their boxes were probably drawn before the turn",
    }
    return [*findings.notes(sentences), *_doubts(len(findings["cut"]), boxes)]


def _doubts(cut: int, boxes: int) -> list[str]:
    """A warning, where too many boxes leave their pictures to be slips of the pen."""
    if cut <= MANY_CUT * boxes:
        return []
    return [
        f"WARNING: {100 * cut / boxes:.2g} % of {boxes} boxes leave their picture. Check that "
        "pictures and annotations belong together: pictures resized or turned later, x and y "
        "exchanged, corners written as widths and heights."
    ]
