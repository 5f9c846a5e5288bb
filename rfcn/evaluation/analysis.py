"""Everything that is asked of an evaluation beside its metric, and as files for programs."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rfcn.evaluation.average_precision import Ints
from rfcn.evaluation.bootstrap import RESAMPLES, Interval, Intervals, bootstrap
from rfcn.evaluation.calibration import Calibration, Reliability, Threshold, calibrate
from rfcn.evaluation.confusion import Confusion, confusion_matrix
from rfcn.evaluation.error_types import KINDS, TITLES, ErrorTypes, classify_errors
from rfcn.evaluation.proposal_recall import IOUS, ProposalRecall
from rfcn.evaluation.scored import Scored, Verdicts, judge_all
from rfcn.evaluation.slices import Slice, slice_aps

FORMAT = 1
UNSURE = 0.5
"""The score from which detections are believed where no threshold can be derived."""


@dataclass(frozen=True)
class Analysis:
    """What was found out, all of it at one IoU."""

    scored: Scored
    verdicts: Verdicts
    intervals: Intervals
    calibration: Calibration
    confusion: Confusion
    errors: ErrorTypes
    slices: list[Slice]
    proposals: ProposalRecall | None = None

    @property
    def iou_threshold(self) -> float:
        """The IoU from which a detection is right."""
        return self.verdicts.iou_threshold

    @property
    def score_threshold(self) -> float:
        """From which score on a detection is believed: the best for all classes by F1."""
        return self.confusion.score_threshold


def analyse(
    scored: Scored,
    sizes: Ints,
    *,
    iou_threshold: float = 0.5,
    proposals: ProposalRecall | None = None,
    resamples: int = RESAMPLES,
) -> Analysis:
    """Ask everything. sizes: [P, 2] height and width of the pictures."""
    verdicts = judge_all(scored, iou_threshold)
    calibration = calibrate(scored, verdicts)
    score = calibration.best.score if calibration.best else UNSURE
    return Analysis(
        scored=scored,
        verdicts=verdicts,
        intervals=bootstrap(scored, verdicts, resamples=resamples),
        calibration=calibration,
        confusion=confusion_matrix(scored, verdicts, score),
        errors=classify_errors(scored, verdicts),
        slices=slice_aps(scored, verdicts, sizes),
        proposals=proposals,
    )


def summarise(analysis: Analysis) -> str:
    """One sentence for the terminal."""
    whole = analysis.intervals.mean
    if whole.value is None or whole.low is None or whole.high is None:
        return "No object is to be found: there is nothing to analyse."
    costs = sorted(zip(analysis.errors.costs, TITLES, strict=True), reverse=True)[:3]
    worst = ", ".join(f"{100 * cost:.1f} for {name}" for cost, name in costs)
    best = analysis.calibration.best
    keep = f"; best score threshold {best.score:.2f} (F1 {best.f1:.2f})" if best else ""
    return (
        f"mAP@{analysis.iou_threshold:g} {100 * whole.value:.1f}, "
        f"{100 * analysis.intervals.confidence:g} % interval {100 * whole.low:.1f} to "
        f"{100 * whole.high:.1f}; mending errors of one kind would give {worst}{keep}."
    )


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write analysis.json, and as CSV what is a table: confusion, errors, slices, thresholds and,
    where it was measured, proposal_recall. A figure that does not exist is null, or empty."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(analysis), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "analysis.json").write_text(text + "\n", encoding="utf-8")
    names = analysis.scored.class_names
    _write(
        folder / "confusion.csv",
        ["true", "background", *names],
        [
            [name, *row]
            for name, row in zip(
                ("background", *names), analysis.confusion.counts.tolist(), strict=True
            )
        ],
    )
    errors = analysis.errors
    columns = zip(KINDS, _counts(analysis), errors.costs, errors.class_costs.tolist(), strict=True)
    _write(
        folder / "errors.csv",
        ["kind", "errors", "cost in mAP", *(f"cost in AP/{name}" for name in names)],
        [[kind, count, cost, *map(_number, row)] for kind, count, cost, row in columns],
    )
    _write(
        folder / "slices.csv",
        ["group", "slice", "objects", "found", "mAP"],
        [[one.group, one.name, one.truths, one.found, one.ap] for one in analysis.slices],
    )
    best = (
        ("all", analysis.calibration.best),
        *zip(names, analysis.calibration.best_by_class, strict=True),
    )
    fields = ("score", "f1", "precision", "recall")
    _write(
        folder / "thresholds.csv",
        ["class", *fields],
        [[name, *(getattr(one, field, None) for field in fields)] for name, one in best],
    )
    if analysis.proposals is not None:
        recall = analysis.proposals
        _write(
            folder / "proposal_recall.csv",
            ["proposals", *(f"recall@{iou:g}" for iou in IOUS), "average recall"],
            [
                [count, *map(_number, (*row, average))]
                for count, row, average in zip(
                    recall.counts, recall.recall, recall.average, strict=True
                )
            ],
        )


def as_json(analysis: Analysis) -> dict[str, Any]:
    """All figures as plain lists and numbers; what does not exist is None."""
    errors, calibration, intervals = analysis.errors, analysis.calibration, analysis.intervals
    recall = analysis.proposals
    return {
        "format": FORMAT,
        "pictures": len(analysis.scored.pictures),
        "classes": list(analysis.scored.class_names),
        "iou_threshold": analysis.iou_threshold,
        "score_threshold": analysis.score_threshold,
        "mean_ap": _interval(intervals.mean),
        "class_aps": [_interval(one) for one in intervals.classes],
        "resamples": intervals.resamples,
        "confidence": intervals.confidence,
        "confusion": analysis.confusion.counts.tolist(),
        "errors": {
            kind: {"count": count, "cost": cost, "class_costs": _numbers(row)}
            for kind, count, cost, row in zip(
                KINDS, _counts(analysis), errors.costs, errors.class_costs, strict=True
            )
        },
        "false_positives_cost": errors.false_positives_cost,
        "false_negatives_cost": errors.false_negatives_cost,
        "slices": [vars(one) for one in analysis.slices],
        "calibration": {
            "overall": _reliability(calibration.overall, calibration.best),
            "classes": [
                _reliability(*pair)
                for pair in zip(calibration.classes, calibration.best_by_class, strict=True)
            ],
        },
        "proposals": None
        if recall is None
        else {
            "counts": list(recall.counts),
            "ious": IOUS.tolist(),
            "recall": [_numbers(row) for row in recall.recall],
            "average_recall": _numbers(recall.average),
            "average_recall_by_size": {name: _numbers(row) for name, row in recall.by_size.items()},
            "proposals_per_picture": recall.proposals,
        },
    }


def _counts(analysis: Analysis) -> list[int]:
    """Errors by kind; of false positives those that are believed."""
    return analysis.errors.counts(analysis.scored.detections.scores >= analysis.score_threshold)


def _interval(one: Interval) -> dict[str, float | None]:
    return {"value": one.value, "low": one.low, "high": one.high}


def _reliability(one: Reliability, best: Threshold | None) -> dict[str, Any]:
    return {
        "counts": one.counts.tolist(),
        "scores": _numbers(one.scores),
        "precision": _numbers(one.precision),
        "expected_calibration_error": one.error,
        "best_threshold": None if best is None else vars(best),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
