"""The analysis as one page of HTML that needs nothing else: no network, no files beside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcn.evaluation.analysis import Analysis
from rfcn.evaluation.bootstrap import Interval
from rfcn.evaluation.error_types import TITLES
from rfcn.evaluation.proposal_recall import IOUS

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "page.html.j2"
CONFUSIONS = 6
"""Most frequent confusions of one class with another that are named."""

MEANINGS = (
    "the box fits an object of another class",
    "right class, but the box overlaps its object too little",
    "a poor box on an object of another class",
    "the object was found already, with a higher score",
    "there is nothing",
    "no detection stands for the object, not even a wrong class or a poor box",
)
"""What each kind of error is, in the order of `TITLES`."""


@dataclass(frozen=True)
class Shot:
    """A picture of the gallery."""

    name: str
    caption: str
    cost: float
    """About how much mAP its errors cost, 0..1."""
    jpeg: bytes


def render_page(
    analysis: Analysis,
    *,
    title: str,
    about: Mapping[str, str],
    config: str,
    figures: Mapping[str, Path],
    metric: Mapping[str, float | None],
    gallery: Sequence[Shot] = (),
) -> str:
    """The page. Whatever comes from outside (names of classes, pictures, paths) is escaped.

    about: what identifies the evaluation, in order; config: its text; figures: PNG files by the
    names `pr_curves`, `confusion`, `calibration`, `proposal_recall`, each of which may be absent;
    metric: what the metric says over all classes, 0..1, None without ground truth.
    """
    calibration = analysis.calibration
    return _template().render(
        title=title,
        metric={name: _percent(value) for name, value in metric.items()},
        about=about,
        config=config,
        iou=f"{analysis.iou_threshold:g}",
        score=f"{analysis.score_threshold:.2f}",
        pictures=len(analysis.scored.pictures),
        objects=int(analysis.scored.required.sum()),
        detections=len(analysis.scored.labels),
        resamples=analysis.intervals.resamples,
        confidence=f"{100 * analysis.intervals.confidence:g}",
        headline=_span(analysis.intervals.mean),
        best=calibration.best,
        calibration_error=_percent(calibration.overall.error),
        classes=class_rows(analysis),
        errors=error_rows(analysis),
        false_positives=_percent(analysis.errors.false_positives_cost),
        false_negatives=_percent(analysis.errors.false_negatives_cost),
        confusions=confusions(analysis),
        slices=slice_rows(analysis),
        recalls=recall_rows(analysis),
        proposals=analysis.proposals.proposals if analysis.proposals else 0,
        figures={name: _uri(path.read_bytes(), "png") for name, path in figures.items()},
        gallery=[
            {
                "name": shot.name,
                "caption": shot.caption,
                "cost": f"{100 * shot.cost:.2f}",
                "image": _uri(shot.jpeg, "jpeg"),
            }
            for shot in gallery
        ],
    )


def class_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """What the table says of each class."""
    scored, rows = analysis.scored, []
    found = np.bincount(scored.labels, minlength=len(scored.class_names) + 1)
    for index, name in enumerate(scored.class_names):
        costs = np.nan_to_num(analysis.errors.class_costs[:, index])
        worst = int(np.argmax(costs))
        error = analysis.calibration.classes[index].error
        rows.append(
            {
                "name": name,
                "objects": int(scored.required[index + 1]),
                "detections": int(found[index + 1]),
                "ap": _span(analysis.intervals.classes[index]),
                "best": analysis.calibration.best_by_class[index],
                "calibration_error": _percent(error),
                "worst": TITLES[worst] if costs[worst] > 0 else "",
                "worst_cost": _percent(costs[worst]),
            }
        )
    return rows


def error_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """What is said of each kind of error; the bars are relative to the longest."""
    errors = analysis.errors
    sure = analysis.scored.detections.scores >= analysis.score_threshold
    longest = max(*errors.costs, 1e-9)
    return [
        {
            "name": name,
            "meaning": meaning,
            "count": count,
            "cost": _percent(cost),
            "bar": f"{100 * max(cost, 0) / longest:.1f}",
        }
        for name, meaning, count, cost in zip(
            TITLES, MEANINGS, errors.counts(sure), errors.costs, strict=True
        )
    ]


def confusions(analysis: Analysis) -> list[dict[str, Any]]:
    """The classes most often taken for another, by number."""
    counts = analysis.confusion.counts[1:, 1:].copy()
    np.fill_diagonal(counts, 0)
    names = analysis.scored.class_names
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(flat), len(names)) for flat in order]
    return [
        {"true": names[true], "found": names[found], "count": int(counts[true, found])}
        for true, found in pairs
        if counts[true, found]
    ]


def slice_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """What is said of each part of the objects."""
    return [
        {
            "group": one.group,
            "name": one.name,
            "objects": one.truths,
            "found": _percent(one.found / one.truths if one.truths else None),
            "ap": _percent(one.ap),
            "bar": f"{100 * (one.ap or 0):.1f}",
        }
        for one in analysis.slices
    ]


def recall_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """Recall by number of proposals, where it was measured."""
    recall = analysis.proposals
    if recall is None:
        return []
    half, three_quarters = (int(np.argmin(np.abs(IOUS - iou))) for iou in (0.5, 0.75))
    return [
        {
            "count": count,
            "half": _percent(recall.recall[row, half]),
            "three_quarters": _percent(recall.recall[row, three_quarters]),
            "average": _percent(recall.average[row]),
            **{name: _percent(values[row]) for name, values in recall.by_size.items()},
        }
        for row, count in enumerate(recall.counts)
    ]


def _span(one: Interval) -> dict[str, Any]:
    """An interval in percent, with the places of its bar."""
    if one.value is None or one.low is None or one.high is None:
        return {"value": "n/a", "known": False, "sort": -1}
    return {
        "known": True,
        "sort": one.value,
        "value": _percent(one.value),
        "low": _percent(one.low),
        "high": _percent(one.high),
        "width": f"{100 * one.value:.2f}",
        "left": f"{100 * one.low:.2f}",
        "reach": f"{100 * max(one.high - one.low, 0.003):.2f}",
    }


def _percent(value: float | None) -> str:
    return "n/a" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = files("rfcn.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)
