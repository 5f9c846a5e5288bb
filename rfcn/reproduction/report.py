"""The table of a reproduction: the paper's figures beside the measured, as files and a plot."""

import csv
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rfcn.reproduction.run import Outcome
from rfcn.reproduction.tables import Margin, Row, Table
from rfcn.visualization.files import write_image

HEADER = (
    *("system", "paper, mAP@0.5", "here, mAP@0.5", "here, mAP@0.7", "seeds"),
    *("pictures seen", "train s/picture", "test s/picture", "commit"),
)
FAILED = "fails"
NONE = "-"


def table_cells(table: Table, outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A line of text for each row, in the order of `HEADER`; what was not run is `-`."""
    return [_line(row, [one for one in outcomes if one.row == row.name]) for row in table.rows]


def _line(row: Row, runs: Sequence[Outcome]) -> tuple[str, ...]:
    paper = row.remark if row.paper is None else f"{row.paper:g}"
    trained, tested = row.seconds
    if not runs:
        return (row.title, paper or NONE, *[NONE] * (len(HEADER) - 2))
    return (
        row.title,
        paper or NONE,
        _percents(one.mean_ap.get("0.5") for one in runs),
        _percents(one.mean_ap.get("0.7") for one in runs),
        ", ".join(str(one.seed) for one in runs),
        f"{runs[0].images:,}",
        _seconds([one.train_seconds for one in runs], trained),
        _seconds([one.test_seconds for one in runs], tested),
        ", ".join(sorted({(one.commit or "unknown")[:7] for one in runs})),
    )


def _seconds(values: Sequence[float], paper: float | None) -> str:
    """The median, and the paper's."""
    here = f"{statistics.median(values):.3f}"
    return here if paper is None else f"{here} (paper: {paper:g})"


def _percents(values: Iterable[float | None]) -> str:
    """The mean and, of several seeds, each value."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return NONE
    each = f" ({', '.join(f'{value:.1f}' for value in known)})" if len(known) > 1 else ""
    return f"{statistics.mean(known):.1f}{each}"


def unmet_margins(table: Table, outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each margin that some seed does not show."""
    figures = {(one.row, one.seed): one.mean_ap.get("0.5") for one in outcomes}
    unmet = []
    for margin in table.margins:
        for seed in sorted({one.seed for one in outcomes}):
            unmet += _unmet(margin, figures, seed)
    return unmet


def _unmet(margin: Margin, figures: dict[tuple[str, int], float | None], seed: int) -> list[str]:
    better, worse = figures.get((margin.better, seed)), figures.get((margin.worse, seed))
    if better is None or worse is None or 100 * (better - worse) >= margin.points:
        return []
    return [
        f"seed {seed}: {margin.better} ({100 * better:.1f}) should be at least {margin.points:g} "
        f"points above {margin.worse} ({100 * worse:.1f})"
    ]


def write_table(table: Table, outcomes: Sequence[Outcome], folder: Path) -> None:
    """folder/table.md, table.csv, table.json and table.png."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = table_cells(table, outcomes)
    (folder / "table.md").write_text(markdown(table, lines), encoding="utf-8")
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *lines])
    (folder / "table.csv").write_text(text.getvalue(), encoding="utf-8")
    rows = [
        {
            "system": row.title,
            "config": row.config,
            "paper": row.paper,
            "remark": row.remark,
            "runs": [one.__dict__ for one in outcomes if one.row == row.name],
        }
        for row in table.rows
    ]
    facts = {"title": table.title, "rows": rows, "unmet": unmet_margins(table, outcomes)}
    (folder / "table.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_image(folder / "table.png", plot(table, outcomes))


def markdown(table: Table, lines: Sequence[Sequence[str]]) -> str:
    """The table as Markdown, with its title."""
    rows = ["| " + " | ".join(cells) + " |" for cells in (HEADER, *lines)]
    rows.insert(1, "|" + "---|" * len(HEADER))
    return f"### {table.title}\n\n" + "\n".join(rows) + "\n"


def plot(table: Table, outcomes: Sequence[Outcome]) -> np.ndarray:
    """A bar for each row as measured, with its seeds as dots, and the paper's figure as a mark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 0.45 * len(table.rows) + 1.2
    figure = Figure(figsize=(8, height), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(table.rows):
        runs = [one for one in outcomes if one.row == row.name]
        values = [100 * (one.mean_ap.get("0.5") or 0) for one in runs]
        if values:
            axes.barh(place, statistics.mean(values), color="#56B4E9", height=0.6)
            axes.plot(values, [place] * len(values), "o", color="#0072B2", markersize=4)
        if row.paper is not None:
            axes.plot([row.paper], [place], "|", color="#D55E00", markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(table.rows)), [row.title for row in table.rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("mAP@0.5: bars and dots measured here, red marks the paper's (other data)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(table.title, loc="left", fontsize=10)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
