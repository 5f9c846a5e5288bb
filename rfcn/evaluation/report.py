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
from rfcn.evaluation.voc import ClassResult, VOCResult

NOT_AVAILABLE = "n/a"
UNLIMITED = 10_000


def print_table(result: VOCResult, *, console: Console | None = None) -> None:
    """A row for each class, then the means, then what a reader must know about them.

    AP is in percent: by area at each threshold, and by 11 points at the first.

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
    shown = len(result.iou_thresholds) + 1
    for name in ("pictures", "boxes", "found", *_figure_names(result)[:shown]):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.classes:
        counts = (str(one.pictures), str(one.truths), str(one.detections))
        table.add_row(_plain(one.name), *counts, *map(_percent, _figures(one)[:shown]))
    table.add_section()
    totals = (
        str(result.pictures),
        str(sum(one.truths for one in result.classes)),
        str(sum(one.detections for one in result.classes)),
    )
    table.add_row("mean", *totals, *map(_percent, _means(result)[:shown]), style="bold")
    width = console.width
    if not console.is_terminal:
        # A file or a pipe has no width of its own: nothing is folded or cut there.
        options = console.options.update(max_width=UNLIMITED)
        console.width = max(width, Measurement.get(console, options, table).maximum)
    console.print(table)
    console.width = width
    for sentence in notes(result):
        console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def notes(result: VOCResult) -> list[str]:
    """What a reader must know beside the figures, a sentence or paragraph each."""
    absent = [one.name for one in result.classes if one.truths == 0]
    says = []
    if absent:
        says.append(
            f"The mean is over {result.classes_with_truth} of {len(result.classes)} classes; "
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


def write_report(result: VOCResult, folder: str | Path) -> list[Path]:
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
            ("class", "pictures", "boxes", "difficult", "detections", *_figure_names(result))
        )
        for one in result.classes:
            counts = (one.name, one.pictures, one.truths, one.difficult, one.detections)
            writer.writerow((*counts, *map(_exact, _figures(one))))
    draw_pr_curves(result, curves)
    return [metrics, table, curves]


def _as_json(result: VOCResult) -> dict[str, Any]:
    return {
        "pictures": result.pictures,
        "pictures_missing": result.pictures_missing,
        "classes_with_truth": result.classes_with_truth,
        "mean": dict(zip(_figure_names(result), _means(result), strict=True)),
        "classes": [
            {
                "name": one.name,
                "pictures": one.pictures,
                "boxes": one.truths,
                "difficult": one.difficult,
                "detections": one.detections,
                **dict(zip(_figure_names(result), _figures(one), strict=True)),
            }
            for one in result.classes
        ],
        "notes": notes(result),
    }


def _figure_names(result: VOCResult) -> list[str]:
    areas = [f"AP@{threshold:g}" for threshold in result.iou_thresholds]
    return [*areas, *(f"{name}/11pt" for name in areas)]


def _figures(one: ClassResult) -> list[float | None]:
    return [*(curve.ap for curve in one.curves), *(curve.ap_11pt for curve in one.curves)]


def _means(result: VOCResult) -> list[float | None]:
    areas = [result.mean_ap(threshold) for threshold in result.iou_thresholds]
    return [*areas, *(result.mean_ap_11pt(threshold) for threshold in result.iou_thresholds)]


def _percent(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{100 * value:.1f}"


def _exact(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else repr(value)


def _plain(name: str) -> str:
    """A class name that rich prints as it is."""
    return name.replace("[", r"\[")
