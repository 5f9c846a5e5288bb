"""Precision over recall of every class, one small panel each."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfcn.evaluation.average_precision import Curve
from rfcn.evaluation.result import ClassScores, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""One a threshold, told apart by colour-blind readers too (Okabe and Ito)."""
MOST_COLUMNS = 5
MOST_POINTS = 2000
"""A curve is thinned to so many points before it is drawn."""


def draw_pr_curves(result: Result, path: str | Path) -> None:
    """Writes a PNG: a panel a class, precision over recall at each IoU threshold, with its AP."""
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, max(len(result.classes), 1))
    rows = max(math.ceil(len(result.classes) / columns), 1)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, one in zip(panels, result.classes, strict=False):
        _draw_class(panel, one)
    for panel in panels[len(result.classes) :]:
        panel.set_axis_off()
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    figure.savefig(path, dpi=110)


def _draw_class(panel: "Axes", one: ClassScores) -> None:
    # A dollar sign would start a formula.
    title = one.name.replace("$", r"\$")
    panel.set_title(f"{title} ({one.truths} boxes)", fontsize=9, loc="left")
    panel.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    panel.grid(color="0.9", linewidth=0.6)
    panel.tick_params(labelsize=8, length=0)
    panel.spines[["top", "right"]].set_visible(False)
    for index, curve in enumerate(one.curves):
        figure = "n/a" if curve.ap is None else f"{100 * curve.ap:.1f}"
        recall, precision = _thinned(curve)
        panel.plot(
            recall,
            precision,
            color=COLOURS[index % len(COLOURS)],
            linewidth=1.4,
            label=f"AP@{curve.iou_threshold:g} {figure}",
        )
    panel.legend(fontsize=7.5, loc="lower left", handlelength=1.2, edgecolor="none", framealpha=0.8)


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The points worth drawing: where the recall rises, and evenly chosen when they are many."""
    rises = np.flatnonzero(np.diff(curve.recall, prepend=0.0) > 0)
    if len(rises) > MOST_POINTS:
        rises = rises[np.linspace(0, len(rises) - 1, MOST_POINTS).astype(np.int64)]
    return curve.recall[rises], curve.precision[rises]
