"""What a check found, complete or as far as it came, for people's pages and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from rfcn.datasets.survey_objects import class_counts
from rfcn.inspection.anchors import Anchors, Resized, share
from rfcn.inspection.cases import Case, Part
from rfcn.inspection.kinds import LEVELS, MOST_CUT, Kind, Level, kind_named

FORMAT = 1
"""Of the JSON; raised when a key changes its meaning."""
SIZES = (0, 32, 64, 128, 256, 512, np.inf)
"""Bounds of the classes of size, in pixels of the resized picture: roots of areas."""

CLEAN, STRICT, FAULTS = 0, 1, 3
"""Exit codes: nothing to mend; only warnings, where they are asked for (`--strict`); faults."""


@dataclass(frozen=True)
class AnchorReport:
    """How the anchors of the config cover the boxes to be trained on."""

    anchors: Anchors
    short_side: int
    max_long_side: int
    positive_iou: float
    these: Resized
    rows: np.ndarray
    """[N] which objects of the train part they are."""
    labels: np.ndarray
    """[N] their classes."""
    overlaps: np.ndarray
    """[N] the best IoU of each."""
    better: list[tuple[Anchors, np.ndarray]]
    """Suggestions that cover clearly more, and the overlaps with them."""

    def by_size(self) -> list[tuple[str, np.ndarray]]:
        """(name, overlaps) of each class of size."""
        sides = self.these.sides
        named = []
        for low, high in pairwise(SIZES):
            name = f"{low:g} to {high:g} px" if np.isfinite(high) else f"from {low:g} px"
            named.append((name, self.overlaps[(sides >= low) & (sides < high)]))
        return named

    def by_class(self, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        """(name, overlaps) of each class."""
        return [
            (name, self.overlaps[self.labels == label]) for label, name in enumerate(names, start=1)
        ]


@dataclass
class Report:
    """All of it."""

    root: str
    format: str
    kinds: dict[str, Kind]
    parts: list[Part]
    cases: list[Case] = field(default_factory=list)
    anchors: AnchorReport | None = None
    complete: bool = True
    """False where it was stopped on the way."""

    def grouped(self) -> list[tuple[Level, str, str, list[Case]]]:
        """(level, kind, part, cases), the worst first, each level in the order of the kinds."""
        groups: dict[tuple[str, str], list[Case]] = {}
        for case in self.cases:
            groups.setdefault((case.kind, case.part), []).append(case)
        order = list(self.kinds)
        rows = [
            (self.level(kind, part), kind, part, cases) for (kind, part), cases in groups.items()
        ]
        return sorted(
            rows,
            key=lambda row: (
                LEVELS.index(row[0]),
                order.index(row[1]) if row[1] in order else -1,
                row[2] != "train",
            ),
        )

    def level(self, kind: str, part: str) -> Level:
        """How bad a kind is in a part: boxes that are cut are a warning once they are many."""
        if kind == "cut":
            objects = next((one.objects for one in self.parts if one.name == part), None)
            cut = sum(one.kind == kind and one.part == part for one in self.cases)
            if objects is not None and cut > MOST_CUT * len(objects):
                return "warning"
        return kind_named(kind, self.kinds).level

    def counts(self) -> dict[Level, int]:
        """How many cases there are of each level."""
        counts = dict.fromkeys(LEVELS, 0)
        for level, _, _, cases in self.grouped():
            counts[level] += len(cases)
        return counts

    def exit_code(self, *, strict: bool = False) -> int:
        """What a script wants to know: 3 where there are faults; 1 where there are warnings and
        `strict`; else 0."""
        counts = self.counts()
        if counts["fault"]:
            return FAULTS
        return STRICT if strict and counts["warning"] else CLEAN


# -------------------------------------------------------------------------------------------- JSON


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values: every case, every count, no pictures."""
    return {
        "format": FORMAT,
        "complete": report.complete,
        "data": {"root": report.root, "format": report.format},
        "counts": report.counts(),
        "parts": [_part_as_json(part) for part in report.parts],
        "cases": [
            {
                "level": level,
                "kind": kind,
                "title": kind_named(kind, report.kinds).title,
                "done": kind_named(kind, report.kinds).done,
                "part": part,
                "file": case.file,
                "object": case.object,
                "place": case.place,
            }
            for level, kind, part, cases in report.grouped()
            for case in cases
        ],
        "anchors": None if report.anchors is None else _anchors_as_json(report),
    }


def _part_as_json(part: Part) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": part.name, "sets": part.sets, "looked_at": len(part.looks)}
    if part.dataset is None or part.objects is None:
        return {**facts, "pictures": 0, "boxes": 0, "difficult": 0, "classes": {}}
    names = part.dataset.class_names
    counts = class_counts(part.objects, len(names))
    return {
        **facts,
        "pictures": len(part.dataset),
        "boxes": int((~part.objects.difficult).sum()),
        "difficult": int(part.objects.difficult.sum()),
        "classes": {name: one.__dict__ for name, one in zip(names, counts, strict=True)},
    }


def _anchors_as_json(report: Report) -> dict[str, Any]:
    one = report.anchors
    assert one is not None
    train = next(part for part in report.parts if part.name == "train")
    assert train.dataset is not None
    assert train.objects is not None
    names = train.dataset.class_names
    return {
        "short_side": one.short_side,
        "max_long_side": one.max_long_side,
        "now": _cover(one.anchors, one.overlaps, one.positive_iou),
        "better": [_cover(anchors, x, one.positive_iou) for anchors, x in one.better],
        "by_class": {name: _shares(x, one.positive_iou) for name, x in one.by_class(names)},
        "by_size": {name: _shares(x, one.positive_iou) for name, x in one.by_size()},
        "below_0.5": [
            {
                "picture": train.dataset.paths[train.objects.picture[one.rows[row]]],
                "class": names[one.labels[row] - 1],
                "box": [round(float(x), 2) for x in train.objects.boxes[one.rows[row]]],
                "iou": round(float(one.overlaps[row]), 4),
            }
            for row in np.flatnonzero(one.overlaps < 0.5)
        ],
    }


def _cover(anchors: Anchors, overlaps: np.ndarray, positive_iou: float) -> dict[str, Any]:
    shape = {"base_size": anchors.base_size, "scales": anchors.scales, "ratios": anchors.ratios}
    return {**shape, **_shares(overlaps, positive_iou)}


def _shares(overlaps: np.ndarray, positive_iou: float) -> dict[str, Any]:
    return {
        "boxes": len(overlaps),
        "positive": share(overlaps, positive_iou),
        "half": share(overlaps, 0.5),
    }
