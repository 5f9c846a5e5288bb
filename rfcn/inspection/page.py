"""The report as one page of HTML that needs nothing else: pictures, charts and style are inside."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rfcn.inspection.anchors import share
from rfcn.inspection.cases import Case, Part
from rfcn.inspection.kinds import kind_named
from rfcn.inspection.report import Report
from rfcn.inspection.text import class_rows, part_figures, settings, shape, summary
from rfcn.inspection.thumbnails import thumbnail
from rfcn.visualization.bars import grouped_bars

MOST_THUMBNAILS = 5
"""Pictures of one kind."""
MOST_PLACES = 100
"""Lines of one kind; all of them are in the JSON."""
SIDES = (0, 16, 32, 48, 64, 96, 128, 192, 256, 384, np.inf)
"""Bounds of roots of areas."""
ASPECTS = (0.0, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0, np.inf)
"""Bounds of height over width."""
BOXES = (0, 1, 2, 3, 5, 9, 17, 33, np.inf)
"""Bounds of boxes in a picture."""


def page(report: Report) -> str:
    """The whole page. Pictures that show something wrong are read again for it."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).from_string((Path(__file__).parent / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        summary=summary(report),
        counts=report.counts(),
        parts=[(part.name, part.sets, part_figures(part)) for part in report.parts],
        groups=[_group(report, *row) for row in report.grouped()],
        classes=_classes(report),
        charts=_charts(report),
        anchors=_anchors(report),
    )


def _group(
    report: Report, level: str, kind: str, part: str, cases: Sequence[Case]
) -> dict[str, Any]:
    """One kind of one part, with its first pictures."""
    known = kind_named(kind, report.kinds)
    shown = [case for case in cases if case.picture is not None][:MOST_THUMBNAILS]
    return {
        "level": level,
        "part": part,
        "title": known.title,
        "done": known.done,
        "count": len(cases),
        "pictures": [one for case in shown for one in _pictures(report, case)],
        "places": [case.place for case in cases[:MOST_PLACES]],
        "more": max(0, len(cases) - MOST_PLACES),
    }


def _pictures(report: Report, case: Case) -> list[dict[str, str]]:
    """The picture of a case, and the one it is compared with."""
    part = next(one for one in report.parts if one.name == case.part)
    assert part.dataset is not None
    assert case.picture is not None
    path = part.dataset.paths[case.picture]
    found = [(path, thumbnail(path, case.boxes, _boxes_of(part, case.picture)))]
    if case.beside is not None:
        found.append((case.beside, thumbnail(case.beside, ())))
    return [{"name": Path(path).name, "uri": uri} for path, uri in found if uri is not None]


def _boxes_of(part: Part, picture: int, most: int = 60) -> list[Any]:
    """The boxes of a picture that are kept, as many as can be told apart."""
    assert part.objects is not None
    own = part.objects.boxes[part.objects.picture == picture]
    return own.tolist() if len(own) <= most else []


def _classes(report: Report) -> list[dict[str, Any]]:
    """A row for each class, with the length of its bars."""
    rows = class_rows(report)
    most = [
        max((counts[n].boxes for _, counts in rows), default=0) for n in range(len(report.parts))
    ]
    return [
        {
            "name": name,
            "counts": [
                {"count": one, "length": round(100 * one.boxes / max(highest, 1), 1)}
                for one, highest in zip(counts, most, strict=True)
            ],
        }
        for name, counts in rows
    ]


# ------------------------------------------------------------------------------------------ charts


def _charts(report: Report) -> list[dict[str, Any]]:
    """Histograms of boxes and pictures, train beside val."""
    parts = [(part.name, part.objects) for part in report.parts if part.objects is not None]
    sizes, aspects, counts, shapes = [], [], [], []
    for name, objects in parts:
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        sizes.append((name, _shares(np.sqrt(sides.prod(axis=1)), SIDES)))
        aspects.append((name, _shares(sides[:, 1] / np.maximum(sides[:, 0], 1e-9), ASPECTS)))
        per_picture = np.bincount(objects.picture, minlength=len(objects.sizes))
        counts.append((name, _shares(per_picture, BOXES)))
        shapes.append((name, _shares(objects.sizes[:, 0] / objects.sizes[:, 1], ASPECTS)))
    return [
        _chart("Size of boxes", "root of the area, pixels of the picture", SIDES, sizes),
        _chart("Shape of boxes", "height over width", ASPECTS, aspects),
        _chart("Boxes in a picture", "difficult ones too", BOXES, counts, whole=True),
        _chart("Shape of pictures", "height over width", ASPECTS, shapes),
    ]


def _chart(
    title: str,
    unit: str,
    bounds: Sequence[float],
    series: list[tuple[str, list[float]]],
    *,
    whole: bool = False,
) -> dict[str, Any]:
    names = []
    for low, high in pairwise(bounds):
        last = high - 1 if whole else high
        if not np.isfinite(high):
            names.append(f"{low:g}+")
        else:
            names.append(f"{low:g}" if whole and low == last else f"{low:g}–{last:g}")
    return {"title": title, "unit": unit, "svg": Markup(grouped_bars(names, series))}


def _shares(values: np.ndarray, bounds: Sequence[float]) -> list[float]:
    """The share of the values from each bound to the next."""
    counts = np.histogram(values, np.array(bounds))[0]
    return (counts / max(len(values), 1)).tolist()


# ----------------------------------------------------------------------------------------- anchors


def _anchors(report: Report) -> dict[str, Any] | None:
    """How the anchors cover the boxes, with the boxes they miss most."""
    one = report.anchors
    if one is None:
        return None
    train = next(part for part in report.parts if part.name == "train")
    assert train.dataset is not None
    assert train.objects is not None
    names = train.dataset.class_names
    rows = [("now", shape(one.anchors), "", one.overlaps)] + [
        ("better", shape(anchors), settings(anchors), overlaps) for anchors, overlaps in one.better
    ]
    pictures = []
    for row in np.argsort(one.overlaps, kind="stable")[:MOST_THUMBNAILS]:
        index = one.rows[row]
        path = train.dataset.paths[train.objects.picture[index]]
        uri = thumbnail(path, [tuple(train.objects.boxes[index].tolist())])
        if uri is not None and one.overlaps[row] < one.positive_iou:
            label = f"{names[one.labels[row] - 1]}, IoU {one.overlaps[row]:.2f}"
            pictures.append({"name": label, "uri": uri})
    return {
        "positive": f"{one.positive_iou:g}",
        "short_side": one.short_side,
        "boxes": len(one.overlaps),
        "rows": [
            {"name": name, "shape": text, "set": words, **_reached(overlaps, one.positive_iou)}
            for name, text, words, overlaps in rows
        ],
        "by_size": [_covered(name, x, one.positive_iou) for name, x in one.by_size()],
        "by_class": sorted(
            (_covered(name, x, one.positive_iou) for name, x in one.by_class(names)),
            key=lambda row: row["half"] if row["boxes"] else 101,
        ),
        "pictures": pictures,
    }


def _covered(name: str, overlaps: np.ndarray, positive_iou: float) -> dict[str, Any]:
    return {"name": name, "boxes": len(overlaps), **_reached(overlaps, positive_iou)}


def _reached(overlaps: np.ndarray, positive_iou: float) -> dict[str, float]:
    return {
        "half": round(100 * (share(overlaps, 0.5) or 0), 1),
        "positive": round(100 * (share(overlaps, positive_iou) or 0), 1),
    }
