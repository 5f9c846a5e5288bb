"""The pictures of an analysis: confusion, errors, calibration, recall of proposals."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfcn.evaluation.analysis import Analysis
from rfcn.evaluation.calibration import BINS, LEAST_SCORE
from rfcn.evaluation.confusion import Confusion
from rfcn.evaluation.error_types import TITLES
from rfcn.evaluation.proposal_recall import IOUS, ProposalRecall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#B8C9D6"
"""Told apart by colour-blind readers, too (Okabe and Ito)."""
INK = "#333333"
MOST_NUMBERS = 25
"""Classes up to which the confusion matrix shows its counts."""
FEW = 10
"""Detections in a bin below which the line of a class has a gap: their share says little."""
SHOWN_IOUS = (0.5, 0.7, 0.9)


def draw_figures(analysis: Analysis, folder: Path) -> list[Path]:
    """Write confusion.png, errors.png, calibration.png and, where the proposals were measured,
    proposal_recall.png; -> their paths."""
    figures = {
        "confusion": _confusion(analysis.confusion, analysis.scored.class_names),
        "errors": _errors(analysis),
        "calibration": _calibration(analysis),
    }
    if analysis.proposals is not None:
        figures["proposal_recall"] = _recall(analysis.proposals)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def _new(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(text: str) -> str:
    """A text in which a dollar sign does not start a formula."""
    return text.replace("$", r"\$")


def _calm(axes: "Axes") -> None:
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, length=0, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.7")


def _confusion(confusion: Confusion, class_names: Sequence[str]) -> "Figure":
    """Rows sum to 1 by colour; counts are written where they can be read. Background is last."""
    counts = np.roll(confusion.counts, -1, axis=(0, 1))
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = len(counts)
    names = [*map(_plain, class_names), "background"]
    small = size - 1 > MOST_NUMBERS
    side = min(3.2 + (0.2 if small else 0.42) * size, 18)
    figure = _new(side + 0.6, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 6 if small else 9
    axes.set_xticks(range(size), [*names[:-1], "missed"], rotation=90, fontsize=font, color=INK)
    axes.set_yticks(range(size), names, fontsize=font, color=INK)
    axes.set_xlabel("found", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    if not small:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return figure


def _errors(analysis: Analysis) -> "Figure":
    figure = _new(6.4, 2.9)
    axes = figure.add_subplot()
    costs = [100 * cost for cost in analysis.errors.costs]
    axes.barh(TITLES, costs, color=BLUE, height=0.62)
    for row, cost in enumerate(costs):
        axes.text(cost, row, f" {cost:.1f}", va="center", fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(*costs, 1) * 1.12)
    axes.set_xlabel("points of mAP gained if errors of this kind alone were mended", fontsize=9)
    _calm(axes)
    axes.grid(visible=False, axis="y")
    return figure


def _calibration(analysis: Analysis) -> "Figure":
    calibration = analysis.calibration
    figure = _new(5.4, 5.0)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    whole = calibration.overall
    centres = (np.arange(BINS) + 0.5) / BINS
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1, linestyle=(0, (4, 3)))
    for one in calibration.classes:
        known = np.where(one.counts >= FEW, one.precision, np.nan)
        axes.plot(one.scores, known, color=GREY, linewidth=0.9)
    axes.plot([], [], color=GREY, linewidth=0.9, label="each class")
    seen = whole.counts > 0
    axes.plot(
        whole.scores[seen],
        whole.precision[seen],
        color=BLUE,
        linewidth=2,
        marker="o",
        markersize=5,
        label="all classes",
    )
    if calibration.best is not None:
        axes.axvline(calibration.best.score, color=ORANGE, linewidth=1.2)
        label = f" best F1 from {calibration.best.score:.2f}"
        axes.text(calibration.best.score, 0.02, label, color=ORANGE, fontsize=8.5)
    axes.axvspan(0, LEAST_SCORE, color="0.96", zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    axes.legend(fontsize=8.5, loc="upper left", edgecolor="none", framealpha=0.9)
    below.bar(centres, whole.counts, width=0.9 / BINS, color=GREY)
    below.set_yscale("symlog")
    below.set(xlabel="score", ylabel="detections")
    below.minorticks_off()
    for one in (axes, below):
        _calm(one)
    return figure


def _recall(recall: ProposalRecall) -> "Figure":
    figure = _new(9.2, 3.7)
    left, right = figure.subplots(1, 2, sharey=True)
    for iou, colour in zip(SHOWN_IOUS, (BLUE, ORANGE, GREEN), strict=True):
        column = int(np.argmin(np.abs(IOUS - iou)))
        values = recall.recall[:, column]
        left.plot(recall.counts, values, color=colour, marker="o", ms=3.5, label=f"IoU {iou:g}")
    left.plot(recall.counts, recall.average, color=INK, linewidth=2, label="average recall")
    left.set_xscale("log")
    left.set(xlabel="proposals a picture", ylabel="recall", ylim=(0, 1.02))
    left.legend(fontsize=8.5, edgecolor="none", loc="upper left", framealpha=0.9)
    shown = [count for count in (10, 100, 300, 1000, 2000) if count in recall.counts]
    last = sorted({*shown, recall.counts[-1]})
    for place, count in enumerate(last, start=1):  # the more proposals, the darker
        values = recall.recall[recall.counts.index(count)]
        strength = 0.25 + 0.75 * place / len(last)
        label = f"{count} proposals"
        right.plot(IOUS, values, color=BLUE, alpha=strength, marker="o", ms=3.5, label=label)
    right.set(xlabel="IoU")
    right.legend(fontsize=8.5, edgecolor="none", loc="lower left", framealpha=0.9)
    for one in (left, right):
        _calm(one)
    return figure
