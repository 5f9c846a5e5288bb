"""The table and the files of a report."""

import csv
import io
import json

import pytest
from PIL import Image
from rich.console import Console

from rfcn.evaluation.report import notes, print_table, write_report
from rfcn.evaluation.voc import VOCEvaluator

NAMES = ("cat", "dog [x] größer Пёс", "cow $x_1$")


@pytest.fixture
def result(target, detections):
    truths = {
        "a": target(
            [[0, 0, 9, 9], [20, 20, 40, 40], [5, 5, 9, 9]], [1, 2, 1], [False, False, True]
        ),
        "b": target([[0, 0, 9, 9]], [1]),
    }
    evaluator = VOCEvaluator(truths, NAMES)
    evaluator.update(["a"], [detections([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], [1, 3])])
    return evaluator.compute()


def printed(result, **options):
    stream = io.StringIO()
    print_table(result, console=Console(file=stream, **options))
    return stream.getvalue()


def test_the_table_shows_counts_figures_and_what_is_missing(result):
    lines = [line.split() for line in printed(result).splitlines()]
    assert ["class", "pictures", "boxes", "found", "AP@0.5", "AP@0.7", "AP@0.5/11pt"] in lines
    assert ["cat", "2", "2", "1", "50.0", "50.0", "54.5"] in lines
    assert ["dog", "[x]", "größer", "Пёс", "1", "1", "0", "0.0", "0.0", "0.0"] in lines
    assert ["cow", "$x_1$", "0", "0", "1", "n/a", "n/a", "n/a"] in lines
    assert ["mean", "2", "3", "2", "25.0", "25.0", "27.3"] in lines


def test_the_notes_name_classes_and_pictures_that_were_left_out(result):
    text = " ".join(notes(result))
    assert "over 2 of 3 classes; without ground truth (n/a): cow $x_1$." in text
    assert "1 of 2 pictures were never detected on" in text
    assert all(sentence in printed(result) for sentence in notes(result))


def test_e1_the_diagnosis_is_printed(target):
    result = VOCEvaluator({"a": target([[0, 0, 9, 9]], [1])}, NAMES).compute()
    assert "There are no detections at all." in printed(result)


def test_a_pipe_gets_neither_colour_nor_folded_lines(result):
    text = printed(result, width=20)
    assert "\x1b" not in text
    assert "…" not in text


def test_a_terminal_gets_colour_unless_no_color_is_set(result, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1m" in printed(result, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(result, force_terminal=True)


def test_an_ascii_console_gets_ascii_lines(target):
    result = VOCEvaluator({"a": target([[0, 0, 9, 9]], [1])}, ("cat",)).compute()
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as stream:
        print_table(result, console=Console(file=stream))
        stream.flush()
        text = raw.getvalue().decode("ascii")
    assert "cat" in text


def test_the_files_hold_every_figure(result, tmp_path):
    paths = write_report(result, tmp_path / "new" / "eval")
    assert [path.name for path in paths] == ["metrics.json", "per_class.csv", "pr_curves.png"]
    metrics = json.loads(paths[0].read_text(encoding="utf-8"))
    assert metrics["mean"]["AP@0.5"] == result.mean_ap(0.5)
    assert metrics["mean"]["AP@0.7/11pt"] == result.mean_ap_11pt(0.7)
    assert metrics["classes"][0] == {
        "name": "cat",
        "pictures": 2,
        "boxes": 2,
        "difficult": 1,
        "detections": 1,
        "AP@0.5": 0.5,
        "AP@0.7": 0.5,
        "AP@0.5/11pt": pytest.approx(6 / 11),
        "AP@0.7/11pt": pytest.approx(6 / 11),
    }
    assert metrics["classes"][2]["AP@0.5"] is None
    with paths[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(NAMES)
    assert float(rows[0]["AP@0.5/11pt"]) == result.classes[0].curves[0].ap_11pt
    assert rows[2]["AP@0.7"] == "n/a"
    with Image.open(paths[2]) as image:
        assert image.size[0] > 600
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50
