"""The result of an evaluation for people and for programs: a table, and a folder of files."""

import csv
import json
from pathlib import Path
from typing import Any

from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from rfcn.evaluation.pr_curves import draw_pr_curves
from rfcn.evaluation.result import Result

NOT_AVAILABLE = "n/a"
UNLIMITED = 10_000


def print_table(result: Result, *, console: Console | None = None) -> None:
    """A row for each class, then the means, then what a reader must know about them.

    AP is in percent. VOC: by area at each threshold, and by 11 points at the first. COCO: over ten
    thresholds, at 0.5 and at 0.75, the other figures below.

    Colour appears on a terminal only, and never with NO_COLOR; a console that cannot show Unicode
    gets ASCII lines.
    """
    console = console or Console()
    table = Table(
        box=ASCII if console.options.ascii_only else SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("class", overflow="fold")
    means = result.figures()
    shown = list(means)[: result.columns]
    for name in ("pictures", "boxes", "found", *shown):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.classes:
        counts = (str(one.pictures), str(one.truths), str(one.detections))
        figures = one.figures()
        table.add_row(_plain(one.name), *counts, *(_percent(figures[name]) for name in shown))
    table.add_section()
    totals = (
        str(result.pictures),
        str(sum(one.truths for one in result.classes)),
        str(sum(one.detections for one in result.classes)),
    )
    table.add_row("mean", *totals, *(_percent(means[name]) for name in shown), style="bold")
    width = console.width
    if not console.is_terminal:
        # A file or a pipe has no width of its own: nothing is folded or cut there.
        options = console.options.update(max_width=UNLIMITED)
        console.width = max(width, Measurement.get(console, options, table).maximum)
    console.print(table)
    console.width = width
    for sentence in (*result.remarks(), *notes(result)):
        console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def notes(result: Result) -> list[str]:
    """What a reader must know beside the figures, a sentence or paragraph each."""
    absent = [one.name for one in result.classes if one.truths == 0]
    says = []
    if absent:
        says.append(
            f"The mean is over {classes_with_truth(result)} of {len(result.classes)} classes; "
            f"without ground truth (n/a): {', '.join(absent)}."
        )
    if result.pictures_missing:
        says.append(
            f"{result.pictures_missing} of {result.pictures} pictures were never detected on; they "
            "count as pictures in which nothing was found."
        )
    if result.diagnosis:
        says.append(result.diagnosis)
    return says


def write_report(result: Result, folder: str | Path) -> list[Path]:
    """Writes metrics.json, per_class.csv and pr_curves.png; -> their paths.

    A figure that does not exist is null in the JSON and n/a in the CSV.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics, table, curves = (
        folder / name for name in ("metrics.json", "per_class.csv", "pr_curves.png")
    )
    text = json.dumps(_as_json(result), indent=2, ensure_ascii=False, allow_nan=False)
    metrics.write_text(text + "\n", encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("class", "pictures", "boxes", "difficult", "detections", *result.figures())
        )
        for one in result.classes:
            counts = (one.name, one.pictures, one.truths, one.difficult, one.detections)
            writer.writerow((*counts, *map(_exact, one.figures().values())))
    draw_pr_curves(result, curves)
    return [metrics, table, curves]


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "pictures": result.pictures,
        "pictures_missing": result.pictures_missing,
        "classes_with_truth": classes_with_truth(result),
        "mean": result.figures(),
        "classes": [
            {
                "name": one.name,
                "pictures": one.pictures,
                "boxes": one.truths,
                "difficult": one.difficult,
                "detections": one.detections,
                **one.figures(),
            }
            for one in result.classes
        ],
        "notes": notes(result),
    }


def classes_with_truth(result: Result) -> int:
    """Over how many classes the means are taken."""
    return sum(one.truths > 0 for one in result.classes)


def _percent(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{100 * value:.1f}"


def _exact(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else repr(value)


def _plain(name: str) -> str:
    """A class name that rich prints as it is."""
    return name.replace("[", r"\[")
