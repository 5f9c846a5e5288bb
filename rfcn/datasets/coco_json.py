"""One COCO file of objects to plain records, as found in the wild rather than as specified."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from rfcn.datasets.findings import Findings
from rfcn.errors import DataError
from rfcn.filekind import MOST_JSON_BYTES, kind_of, remedy_for

MAX_BYTES = MOST_JSON_BYTES

Id = int | str
"""Of a picture, a category or an annotation: a whole number or a text, kept as it is."""
XYWH = tuple[float, float, float, float]
"""Left, top, width, height, in pixels."""

_STOPS = {
    "category": "{count} categories are broken: {places}. Give each an id and a name of its own.",
    "listing": "{count} pictures are listed wrongly: {places}. Give each an id and a file_name of "
    "its own.",
    "annotation": "{count} annotations cannot be read: {places}. A bbox is [x, y, width, height] "
    "in pixels, iscrowd is 0 or 1.",
    "orphan": "{count} annotations refer to what the file does not list: {places}. Take them out, "
    "or add what they refer to.",
}
"""What stops a reading that is not tolerant."""
_NO_OBJECTS = (
    "there are no objects to learn from or to score against. Test sets (image_info_*.json) and "
    "results have none: name a set that has."
)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the file says of a picture."""

    id: Id
    file_name: str
    size: tuple[int, int] | None
    """(height, width) as the file claims; None where it is missing or senseless."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object, or one crowd of them."""

    id: Id
    picture: Id
    category: Id
    box: XYWH
    """As written; any numbers, NaN too."""
    area: float
    """As written: of the object's outline, smaller than its box's; else its box's."""
    crowd: bool


@dataclass(frozen=True, eq=False)
class COCOFile:
    """All of a file, each record checked by itself and against what it refers to."""

    path: Path
    categories: dict[Id, str]
    """Their names, by their ids, in the order of the ids."""
    pictures: dict[Id, Picture]
    """In the order of the file."""
    annotations: dict[Id, list[Annotation]]
    """By picture; pictures without any have none here."""


def read_coco(path: Path, findings: Findings) -> COCOFile:
    """The records of one file, which is there.

    Broken records are findings of kind `category`, `listing`, `annotation` or `orphan`; what was
    mended, `no area`, `outline` or `renumbered`. Raises DataError at the first such kind that has
    any, unless `findings` is tolerant, and when the file as a whole makes no sense.
    """
    content = _read_json(path)
    categories = _categories(_part(content, "categories", path), path, findings)
    pictures = _pictures(_part(content, "images", path), path, findings)
    annotations = _annotations(_part(content, "annotations", path), path, findings)
    kept: dict[Id, list[Annotation]] = {}
    for one in annotations:
        missing = [f"picture {one.picture!r}"] * (one.picture not in pictures)
        missing += [f"category {one.category!r}"] * (one.category not in categories)
        if missing:
            place = f"annotation {one.id} to {' and '.join(missing)}"
            findings.add("orphan", place, file=path, object=one.id)
        else:
            kept.setdefault(one.picture, []).append(one)
    _stop_at("orphan", path, findings)
    return COCOFile(path, categories, pictures, kept)


# ----------------------------------------------------------------------------- the file as a whole


def _read_json(path: Path) -> dict[str, Any]:
    """Raises DataError, naming what the file is instead."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: {size / 1e9:.1f} GB, and what takes more than {MAX_BYTES / 1e9:.0f} is "
                "not read. Split it into several sets."
            )
        content = json.loads(path.read_bytes())
    except RecursionError:
        raise DataError(f"{path}: nested too deeply for annotations. Restore the file.") from None
    except ValueError as fault:
        raise DataError(f"{path}: {_instead(path, fault)}") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror}).") from None
    if isinstance(content, list):
        raise DataError(f"{path}: a list, as results are, where COCO has an object: {_NO_OBJECTS}")
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__}, where COCO has an object.")
    return content


def _instead(path: Path, fault: ValueError) -> str:
    """What a file that is no JSON is."""
    kind = kind_of(path)
    if kind != "a text file":
        return f"{kind}, where JSON was expected. {remedy_for(kind) or 'Name the right file.'}"
    if not isinstance(fault, json.JSONDecodeError):
        return f"cannot be decoded ({fault}). Convert it to UTF-8."
    where = f"line {fault.lineno}, column {fault.colno}"
    if not fault.doc.rstrip().endswith(("}", "]")):
        return f"ends in the middle (JSON breaks at {where}). Copy it anew from its source."
    return f"not valid JSON, {fault.msg} at {where}. Mend it, or copy it anew from its source."


def _part(content: dict[str, Any], name: str, path: Path) -> list[Any]:
    """One of the lists of the file."""
    part = content.get(name)
    if name == "annotations" and part is None:
        raise DataError(f"{path}: no `annotations`, {_NO_OBJECTS}")
    if not isinstance(part, list):
        held = ", ".join(map(str, content)) or "nothing"
        raise DataError(
            f"{path}: no list of `{name}`; it holds {held}. COCO's annotations of objects have "
            "`images`, `annotations` and `categories`."
        )
    if name == "images" and not part:
        raise DataError(f"{path}: the file has 0 pictures. Is it complete?")
    return part


def _stop_at(kind: str, path: Path, findings: Findings) -> None:
    file = str(path).replace("{", "{{").replace("}", "}}")
    findings.stop_at(kind, f"{file}: {_STOPS[kind]}")


# ---------------------------------------------------------------------------------------- records


class _BrokenError(ValueError):
    """A record that cannot be understood, and why."""


def _categories(records: list[Any], path: Path, findings: Findings) -> dict[Id, str]:
    """The names by id; of two with one id or one name the first counts."""
    found: dict[Id, str] = {}
    for number, one in enumerate(records):
        try:
            id_ = _id(_mapping(one), "id")
            name = one.get("name")
            if not _is_text(name):
                raise _BrokenError(f"its name is {_short(name)}")
            if id_ in found:
                raise _BrokenError(f"{name!r} has the id {id_} of {found[id_]!r}")
            if name.strip() in found.values():
                raise _BrokenError(f"{name!r} comes twice")
            found[id_] = name.strip()
        except _BrokenError as fault:
            findings.add("category", f"categories[{number}], {fault}", file=path, object=number)
    _stop_at("category", path, findings)
    if not found:
        raise DataError(f"{path}: there is no category, so the objects have no classes. Add them.")
    return {id_: found[id_] for id_ in sorted(found, key=_order)}


def _order(id_: Id) -> tuple[int, int, str]:
    """Numbers first, by their value, those that are texts of digits too."""
    digits = isinstance(id_, int) or id_.isdecimal()
    return (0, int(id_), str(id_)) if digits else (1, 0, str(id_))


def _pictures(records: list[Any], path: Path, findings: Findings) -> dict[Id, Picture]:
    """By id; of two with one id (a number and its digits are one) or one file the first counts."""
    found: dict[Id, Picture] = {}
    ids: set[str] = set()
    names: set[str] = set()
    for number, one in enumerate(records):
        try:
            id_ = _id(_mapping(one), "id")
            name = one.get("file_name")
            if not _is_text(name):
                raise _BrokenError(f"its file_name is {_short(name)}")
            if str(id_) in ids:
                raise _BrokenError(f"{name} has the id {id_} of another")
            if name in names:
                raise _BrokenError(f"{name} comes twice")
        except _BrokenError as fault:
            findings.add("listing", f"images[{number}], {fault}", file=path, object=number)
            continue
        ids.add(str(id_))
        names.add(name)
        found[id_] = Picture(id_, name, _size(one))
    _stop_at("listing", path, findings)
    return found


def _size(one: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = one.get("height"), one.get("width")
    if not (_is_number(height) and _is_number(width)):
        return None
    return (
        (int(height), int(width))
        if min(height, width) >= 1 and max(height, width) < math.inf
        else None
    )


def _annotations(records: list[Any], path: Path, findings: Findings) -> list[Annotation]:
    """Those that can be read, each with an id of its own."""
    read = []
    for number, one in enumerate(records):
        try:
            read.append(_annotation(_mapping(one), number, path, findings))
        except _BrokenError as fault:
            id_ = one.get("id") if isinstance(one, dict) else None
            id_ = id_ if _is_id(id_) else None
            place = f"annotations[{number}]" if id_ is None else f"annotation {id_}"
            findings.add("annotation", f"{place}, {fault}", file=path, object=id_)
    _stop_at("annotation", path, findings)
    return _numbered(read, path, findings)


def _annotation(one: Mapping[str, Any], number: int, path: Path, findings: Findings) -> Annotation:
    """One record. Its id is 0 where it has none."""
    id_ = one["id"] if _is_id(one.get("id")) else 0
    place = f"annotation {id_}" if id_ else f"annotations[{number}]"

    def mended(kind: str) -> None:
        findings.add(kind, place, file=path, object=id_ or None)

    crowd = one.get("iscrowd", 0)
    if crowd not in (None, 0, 1):
        raise _BrokenError(f"iscrowd is {_short(crowd)}")
    box = _box(one, mended)
    area = one.get("area")
    if not _is_number(area) or not (math.isfinite(area) and area >= 0):
        mended("no area")
        area = box[2] * box[3]
    return Annotation(
        id=id_,
        picture=_id(one, "image_id"),
        category=_id(one, "category_id"),
        box=box,
        area=float(area),
        crowd=bool(crowd),
    )


def _box(one: Mapping[str, Any], mended: Callable[[str], None]) -> XYWH:
    """The `bbox`; where there is none, the box around the `segmentation`."""
    box = one.get("bbox")
    if box is None or box == []:
        outline = _around(one.get("segmentation"))
        if outline is None:
            raise _BrokenError("it has neither a bbox nor polygons to take it of")
        mended("outline")
        return outline
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise _BrokenError(f"bbox is {_short(box)}")
    x, y, width, height = map(float, box)
    return x, y, width, height


def _around(segmentation: Any) -> XYWH | None:
    """The box around polygons; None for masks, and for what is neither."""
    if not isinstance(segmentation, list) or not all(isinstance(one, list) for one in segmentation):
        return None
    flat = [value for polygon in segmentation for value in polygon]
    if len(flat) < 6 or not all(_is_number(one) and math.isfinite(one) for one in flat):
        return None
    columns = [value for polygon in segmentation for value in polygon[0::2]]
    rows = [value for polygon in segmentation for value in polygon[1::2]]
    left, top = float(min(columns)), float(min(rows))
    return left, top, max(columns) - left, max(rows) - top


def _numbered(annotations: list[Annotation], path: Path, findings: Findings) -> list[Annotation]:
    """The same with ids that are unique and not 0: a scorer takes 0 for 'matched to nothing'."""
    times = Counter(one.id for one in annotations)
    free = max([0, *(id_ for id_ in times if isinstance(id_, int))]) + 1
    seen: set[Id] = {0}
    numbered = []
    for one in annotations:
        if one.id in seen:
            findings.add("renumbered", f"{one.id} as {free}", file=path, object=free)
            one, free = replace(one, id=free), free + 1
        seen.add(one.id)
        numbered.append(one)
    return numbered


def _mapping(one: Any) -> Mapping[str, Any]:
    if not isinstance(one, dict):
        raise _BrokenError(f"it is {_short(one)}, no object")
    return one


def _id(one: Mapping[str, Any], key: str) -> Id:
    """A whole number (3.0 is one) or a text."""
    value = one.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not _is_id(value):
        raise _BrokenError(f"its {key} is {_short(value)}")
    return value


def _is_id(value: Any) -> TypeGuard[Id]:
    return (isinstance(value, int) and not isinstance(value, bool)) or _is_text(value)


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that can be written: JSON can hold halves of characters."""
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= one <= "\udfff" for one in value)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is one that fits a float."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1 << 62
    return isinstance(value, float)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
