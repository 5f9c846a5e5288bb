"""What the terminal shows."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from rfcn.inspection.anchors import Anchors
from rfcn.inspection.text import print_report, shape, sizes_in_words, summary


@pytest.fixture
def shown(planted_voc, report_of) -> Callable[..., str]:
    def show(**how: object) -> str:
        text = io.StringIO()
        print_report(report_of(planted_voc.config), console=Console(file=text, **how))  # type: ignore[arg-type]
        return text.getvalue()

    return show


def test_faults_come_first_with_what_training_does(shown: Callable[..., str]) -> None:
    text = shown(width=60)
    lines = text.splitlines()
    heads = [
        line.split(":")[0] for line in lines if line.split(":")[0] in {"fault", "warning", "note"}
    ]
    assert heads == sorted(heads, key=("fault", "warning", "note").index)
    assert "fault: train: boxes without area: 2 (dropped)" in lines
    assert (
        "warning: val: pictures of val that are in train too: 1 (measured, though learned)" in lines
    )
    assert "pictures looked at: " in lines[-1]
    assert "\x1b" not in text


def test_without_unicode_the_lines_are_ascii(planted_voc, report_of) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    print_report(report_of(planted_voc.config), console=Console(file=stream))
    stream.flush()
    assert b"+--" in raw.getvalue()


def test_a_stopped_check_says_so(planted_voc, report_of) -> None:
    report = report_of(planted_voc.config)
    seen = sum(len(part.looks) for part in report.parts)
    report.parts[1].looks.clear()
    report.complete = False
    assert summary(report).startswith(f"Stopped after {seen - 1} of {seen} pictures, so far: ")


def test_sizes_and_shapes_in_words() -> None:
    assert sizes_in_words(np.array([[3, 4], [3, 4]])) == "4 x 3"
    assert sizes_in_words(np.array([[3, 4], [5, 6], [9, 8]])) == "6 x 5 (4-8 x 3-9)"
    assert shape(Anchors(16, (8, 16), (0.5, 1), 16)) == "sides 128, 256, ratios 0.5, 1"
