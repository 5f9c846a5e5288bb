"""The report on a terminal: what a screen holds, the worst first."""

from collections.abc import Sequence

import numpy as np
from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from rfcn.datasets.survey_objects import ClassCount, class_counts
from rfcn.inspection.anchors import Anchors, share
from rfcn.inspection.cases import Part
from rfcn.inspection.kinds import kind_named
from rfcn.inspection.report import AnchorReport, Report

MOST_CLASSES = 24
"""More classes are cut to the rarest and the most frequent."""
MOST_PLACES = 3
"""Examples a kind shows on the terminal."""
COLOURS = {"fault": "bold red", "warning": "yellow", "note": "cyan"}
UNLIMITED = 10_000


def print_report(report: Report, *, console: Console | None = None) -> None:
    """Sets, classes, anchors, then what is wrong, and a last line that sums up.

    Colour appears on a terminal only, and never with NO_COLOR.
    """
    console = console or Console()
    _print_table(console, _sets_table(report))
    _print_table(console, _classes_table(report))
    if report.anchors is not None:
        for line in anchor_lines(report.anchors, _train_names(report)):
            _say(console, line)
        _say(console, "")
    for level, kind, part, cases in report.grouped():
        known = kind_named(kind, report.kinds)
        title = f"{level}: {part}: {known.title}: {len(cases)} ({known.done})"
        _say(console, title, style=COLOURS[level])
        shown = cases[:MOST_PLACES] if level != "note" else cases[:1]
        for case in shown:
            _say(console, f"    {case.place}")
        if len(cases) > len(shown):
            _say(console, f"    and {len(cases) - len(shown)} more")
    _say(console, summary(report), style="bold")


def summary(report: Report) -> str:
    """One line: how many of each level, and whether all was looked at."""
    counts = report.counts()
    said = ", ".join(
        f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count
    )
    seen = sum(len(part.looks) for part in report.parts)
    every = sum(len(part.dataset) for part in report.parts if part.dataset is not None)
    if not report.complete:
        return f"Stopped after {seen} of {every} pictures, so far: {said or 'nothing wrong'}."
    return f"{seen} pictures looked at: {said or 'nothing wrong'}."


def anchor_lines(one: AnchorReport, names: Sequence[str]) -> list[str]:
    """How the anchors cover the boxes, in a few sentences."""
    lines = [
        f"anchors: of {len(one.overlaps)} boxes to train on, {_percent(one.overlaps, 0.5)} reach "
        f"IoU 0.5 with an anchor, {_percent(one.overlaps, one.positive_iou)} reach "
        f"{one.positive_iou:g} (short side {one.short_side}; {shape(one.anchors)})"
    ]
    worst = _worst(one.by_class(names)) + _worst(one.by_size())
    if worst:
        lines.append(f"    fewest at 0.5: {', '.join(worst)}")
    for anchors, overlaps in one.better:
        reached = f"{_percent(overlaps, 0.5)} and {_percent(overlaps, one.positive_iou)}"
        lines.append(f"    {reached} with --set {settings(anchors)}")
    return lines


def settings(anchors: Anchors) -> str:
    """The anchors as `key=value` for the command line."""
    return (
        f"model.proposer.anchors.scales={_listed(anchors.scales)} "
        f"model.proposer.anchors.ratios={_listed(anchors.ratios)}"
    )


def shape(anchors: Anchors) -> str:
    """The anchors in pixels and ratios."""
    sides = ", ".join(f"{anchors.base_size * scale:g}" for scale in anchors.scales)
    return f"sides {sides}, ratios {', '.join(f'{ratio:g}' for ratio in anchors.ratios)}"


def _worst(rows: list[tuple[str, np.ndarray]], most: int = 2) -> list[str]:
    """The rows with the lowest shares, where they miss more than a tenth."""
    shares = [(share(overlaps, 0.5), name) for name, overlaps in rows if len(overlaps)]
    low = sorted((value, name) for value, name in shares if value is not None and value < 0.9)
    return [f"{name} {100 * value:.0f} %" for value, name in low[:most]]


def _percent(overlaps: np.ndarray, threshold: float) -> str:
    return f"{100 * (share(overlaps, threshold) or 0):.1f} %"


def _listed(numbers: Sequence[float]) -> str:
    return f"[{','.join(f'{number:g}' for number in numbers)}]"


# ------------------------------------------------------------------------------------------ tables


def _sets_table(report: Report) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    for name in ("", "sets"):
        table.add_column(name, overflow="fold")
    for name in ("pictures", "looked at", "boxes", "difficult", "a picture", "picture size"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in report.parts:
        table.add_row(part.name, part.sets, *part_figures(part))
    return table


def part_figures(part: Part) -> tuple[str, ...]:
    """Pictures, looked at, boxes, difficult, boxes a picture, sizes; as they are shown."""
    if part.dataset is None or part.objects is None:
        return ("0", "0", "", "", "", "")
    objects, pictures = part.objects, len(part.dataset)
    return (
        str(pictures),
        str(len(part.looks)),
        str(int((~objects.difficult).sum())),
        str(int(objects.difficult.sum())),
        f"{len(objects) / max(pictures, 1):.1f}",
        sizes_in_words(objects.sizes),
    )


def sizes_in_words(sizes: np.ndarray) -> str:
    """Width x height of the pictures: the one they have, or the median and its range."""
    if not len(sizes):
        return ""
    low, middle, high = (np.quantile(sizes, q, axis=0).astype(int) for q in (0, 0.5, 1))
    if (low == high).all():
        return f"{low[1]} x {low[0]}"
    return f"{middle[1]} x {middle[0]} ({low[1]}-{high[1]} x {low[0]}-{high[0]})"


def _classes_table(report: Report) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("class", overflow="fold")
    for part in report.parts:
        for name in ("boxes", "pictures", "difficult"):
            table.add_column(f"{part.name} {name}", justify="right", no_wrap=True)
    rows = class_rows(report)
    shown = rows
    if len(rows) > MOST_CLASSES:
        by_boxes = sorted(rows, key=lambda row: -row[1][0].boxes)
        half = MOST_CLASSES // 2
        shown = [*by_boxes[:half], (f"... ({len(rows) - 2 * half} more)", []), *by_boxes[-half:]]
    for name, counts in shown:
        cells = [text for one in counts for text in (one.boxes, one.pictures, one.difficult or "")]
        table.add_row(name.replace("[", r"\["), *map(str, cells))
    return table


def class_rows(report: Report) -> list[tuple[str, list[ClassCount]]]:
    """(name, counts in each part) of every class of any part; a part without it has zeros."""
    nothing = ClassCount(0, 0, 0)
    by_part = []
    for part in report.parts:
        names = part.dataset.class_names if part.dataset is not None else ()
        counts = class_counts(part.objects, len(names)) if part.objects is not None else []
        by_part.append(dict(zip(names, counts, strict=True)))
    every = dict.fromkeys(name for counts in by_part for name in counts)
    return [(name, [counts.get(name, nothing) for counts in by_part]) for name in every]


def _train_names(report: Report) -> tuple[str, ...]:
    train = next(part for part in report.parts if part.name == "train")
    assert train.dataset is not None
    return train.dataset.class_names


def _print_table(console: Console, table: Table) -> None:
    table.box = ASCII if console.options.ascii_only else SIMPLE_HEAD
    width = console.width
    if not console.is_terminal:
        # A file or a pipe has no width of its own: nothing is folded or cut there.
        options = console.options.update(max_width=UNLIMITED)
        console.width = max(width, Measurement.get(console, options, table).maximum)
    console.print(table)
    console.width = width


def _say(console: Console, text: str, style: str | None = None) -> None:
    soft = not console.is_terminal
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=soft)
