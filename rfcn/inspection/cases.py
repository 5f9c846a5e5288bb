"""From what was read and seen to single cases: what, where, and which picture shows it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rfcn.datasets.findings import Finding
from rfcn.datasets.listed import Box, ListedPictures
from rfcn.datasets.survey import Look
from rfcn.datasets.survey_objects import Objects, boxes_a_picture, class_counts, repeated_boxes
from rfcn.datasets.survey_twins import equal_groups, near_pairs
from rfcn.datasets.transforms import fitted_size

_NUMBER = r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)"
_OF_PICTURE = re.compile(r" of (.+?)(?: at |$)")
"""The picture in a sentence of the COCO reader, whose file holds them all."""
_CORNERS = re.compile(rf" at ({_NUMBER}) ({_NUMBER}) ({_NUMBER}) ({_NUMBER})$")


@dataclass(frozen=True)
class Case:
    """Something wrong or unusual, once."""

    kind: str
    """A key of `rfcn.inspection.kinds.kinds_of`."""
    part: str
    """`train` or `val`."""
    place: str
    """Where, in words."""
    file: str | None = None
    object: int | str | None = None
    picture: int | None = None
    """Number of the picture in its part, where one shows it."""
    boxes: tuple[Box, ...] = ()
    """What to draw on it; they may leave the picture or be empty."""
    beside: str | None = None
    """File of the picture it is compared with."""


@dataclass
class Part:
    """The pictures for training, or those for validation, as far as they were looked at."""

    name: str
    """`train` or `val`."""
    sets: str
    """As in `data.train`."""
    dataset: ListedPictures | None
    """None where nothing could be read."""
    objects: Objects | None
    looks: list[Look] = field(default_factory=list)
    """Of the first pictures, or of all."""
    cases: list[Case] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every picture was looked at."""
        return self.dataset is not None and len(self.looks) == len(self.dataset)


# ----------------------------------------------------------------------------------- what was read


def reader_cases(
    findings: Sequence[Finding], part: str, paths: Sequence[str], *, one_based: bool
) -> Iterator[Case]:
    """A case for each finding. paths: of the pictures that were read; one_based: of VOC."""
    number_of = _numbers(paths)
    for one in findings:
        if one.kind == "twice":
            continue  # `object_cases` says it of every format, and with the box
        named = _OF_PICTURE.search(one.place)
        keys = [*_keys(one.file or ""), named[1] if named else ""]
        number = next((number_of[key] for key in keys if key in number_of), None)
        box = _box_in(one.place, one_based=one_based)
        yield Case(
            one.kind, part, one.place, one.file, one.object, number, () if box is None else (box,)
        )


def _numbers(paths: Sequence[str]) -> dict[str, int]:
    """The number of the picture that each key stands for alone."""
    found: dict[str, int] = {}
    clashing = set()
    for number, path in enumerate(paths):
        for key in (*_keys(path), Path(path).name):
            if found.setdefault(key, number) != number:
                clashing.add(key)
    return {key: number for key, number in found.items() if key not in clashing}


def _keys(path: str) -> tuple[str, str, str]:
    """By what a picture is known to its annotation, the surest first: its path, its stem within a
    folder of VOC's, its stem."""
    whole = Path(path)
    return path, f"{whole.parent.parent}:{whole.stem}", f":{whole.stem}"


def _box_in(place: str, *, one_based: bool) -> Box | None:
    """The box that ends a place ("at 1 2 3 4", as its file has it), to be drawn."""
    match = _CORNERS.search(place)
    if match is None:
        return None
    a, b, c, d = map(float, match.groups())
    return (a - 1, b - 1, c, d) if one_based else (a, b, a + c, b + d)


# ----------------------------------------------------------------------------------- what was seen


def picture_cases(
    part: Part, *, short_side: int, max_long_side: int, stride: int
) -> Iterator[Case]:
    """What the looks at the pictures of a part say."""
    assert part.dataset is not None
    for number, look in enumerate(part.looks):
        path = part.dataset.paths[number]

        def case(kind: str, place: str, number: int = number, path: str = path) -> Case:
            return Case(kind, part.name, place, file=path, picture=number)

        if look.fault is not None:
            yield case("picture", look.fault)
            continue
        height, width = look.size
        said = part.dataset.sizes[number]
        if look.size != said:
            turned = " (turned by 90 degrees: EXIF?)" if look.size == said[::-1] else ""
            yield case(
                "other size",
                f"{path}: {width} x {height}, annotated as {said[1]} x {said[0]}{turned}",
            )
        fitted = fitted_size(look.size, short_side=short_side, max_long_side=max_long_side)
        if min(fitted) < 2 * stride:
            yield case("thin", f"{path}: {width} x {height}, resized to {fitted[1]} x {fitted[0]}")
        if look.damage is not None:
            yield case("damage", f"{path}: {look.damage}")
        if look.turned != 1:
            yield case("turned", f"{path}: orientation {look.turned}")
        for remark in look.remarks:
            yield case("remark", f"{path}: {remark}")


# ---------------------------------------------------------------------------- what the objects say


def object_cases(part: Part) -> Iterator[Case]:
    """Pictures without boxes, and boxes that are there twice (K18)."""
    assert part.dataset is not None
    assert part.objects is not None
    objects, paths = part.objects, part.dataset.paths
    every, easy = boxes_a_picture(objects), boxes_a_picture(objects, difficult=False)
    for number, path in enumerate(paths):
        if not easy[number]:
            kind = "difficult" if every[number] else "no box"
            yield Case(kind, part.name, path, file=path, picture=number)
    names = part.dataset.class_names
    for first, second in repeated_boxes(objects):
        number = int(objects.picture[first])
        corners = tuple(float(value) for value in objects.boxes[second])
        a, b = (names[objects.labels[row] - 1] for row in (first, second))
        what = a if a == b else f"{a} and {b}"
        where = " ".join(f"{value:g}" for value in corners)
        yield Case(
            "twice" if a == b else "two names",
            part.name,
            f"{paths[number]}: {what} at {where} (pixels from 0)",
            file=paths[number],
            picture=number,
            boxes=(corners,),  # type: ignore[arg-type]
        )


def class_cases(parts: Sequence[Part]) -> Iterator[Case]:
    """Classes without a box, and a part for training without any box at all (K15)."""
    for part in parts:
        if part.dataset is None or part.objects is None:
            continue
        counts = class_counts(part.objects, len(part.dataset.class_names))
        if part.name == "train" and len(part.dataset) and not any(one.boxes for one in counts):
            yield Case("nothing", part.name, f"{part.sets}: {len(part.dataset)} pictures")
            continue
        kind = "not trained" if part.name == "train" else "not measured"
        for name, count in zip(part.dataset.class_names, counts, strict=True):
            if not count.boxes:
                hard = f", {count.difficult} difficult ones apart" if count.difficult else ""
                yield Case(kind, part.name, f"{name}{hard}")


# --------------------------------------------------------------------------------- the same again


def twin_cases(parts: Sequence[Part]) -> Iterator[Case]:
    """Pictures that are the same, within a part and across the two (K19)."""
    places = [
        (part, number) for part in parts for number in range(len(part.looks))
    ]  # the number of a picture over all parts -> where it is
    looks = [part.looks[number] for part, number in places]
    again: set[int] = set()
    for group in equal_groups([look.pixels for look in looks]):
        again.update(group[1:])
        yield from _group_cases([places[one] for one in group], "twin", "leak", "is")
    once = [number for number in range(len(looks)) if number not in again]
    near = near_pairs([looks[i].fingerprint for i in once], [looks[i].small for i in once])
    for pair in near:
        yield from _group_cases(
            [places[once[one]] for one in pair], "near twin", "near leak", "is much like"
        )


def _group_cases(
    members: Sequence[tuple[Part, int]], within: str, across: str, verb: str
) -> Iterator[Case]:
    """The cases of pictures that are the same: one for each but the first of its part, and one for
    each of val when there is one of train."""
    by_part: dict[str, list[tuple[Part, int]]] = defaultdict(list)
    for part, number in members:
        by_part[part.name].append((part, number))
    for group in by_part.values():
        yield from (_pair_case(within, one, group[0], verb) for one in group[1:])
    if "train" in by_part:
        first = by_part["train"][0]
        yield from (_pair_case(across, one, first, verb) for one in by_part.get("val", ()))


def _pair_case(kind: str, one: tuple[Part, int], other: tuple[Part, int], verb: str) -> Case:
    paths = []
    for part, number in (one, other):
        assert part.dataset is not None
        paths.append(part.dataset.paths[number])
    place = f"{paths[0]} {verb} {paths[1]}" if paths[0] != paths[1] else f"{paths[0]}, in both"
    return Case(kind, one[0].name, place, file=paths[0], picture=one[1], beside=paths[1])
