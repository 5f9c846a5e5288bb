"""What was found, as text."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rfcn.inference.frames import FilmFacts, Frame
from rfcn.inference.results import NamedDetections
from rfcn.inference.writers import CSVWriter, JSONLinesWriter, JSONWriter, record_of


@pytest.fixture
def of_film(frame: Frame) -> Frame:
    return replace(frame, source=Path("käse.mp4"), number=7, seconds=1.4, film=FilmFacts("k", 5))


def test_a_record_says_everything_in_words_and_pixels(
    frame: Frame, found: NamedDetections, of_film: Frame
) -> None:
    record = record_of(frame, found)
    assert list(record) == ["file", "width", "height", "detections"]
    assert (record["file"], record["width"], record["height"]) == (str(frame.source), 64, 48)
    assert record["detections"][0] == {
        "label": "dog",
        "label_id": 2,
        "score": 0.9,
        "box": [1.0, 2.0, 30.12, 40.5],
    }
    record = record_of(of_film, found)
    assert (record["file"], record["frame"], record["time"]) == ("käse.mp4", 7, 1.4)


def test_json_is_a_list_with_a_record_a_line(
    frame: Frame, found: NamedDetections, of_film: Frame, tmp_path: Path
) -> None:
    records = [record_of(frame, found), record_of(of_film, found[:0])]
    for count in (0, 1, 2):
        writer = JSONWriter(tmp_path / "x.json")
        for one, what in [(frame, found), (of_film, found[:0])][:count]:
            writer.write(one, what)
        writer.close()
        text = (tmp_path / "x.json").read_text(encoding="utf-8")
        assert json.loads(text) == records[:count]
        assert text.count("\n") == 2 + count
    assert "käse" in text


def test_json_lines_can_be_read_on_the_way(
    frame: Frame, found: NamedDetections, of_film: Frame, tmp_path: Path
) -> None:
    writer = JSONLinesWriter(tmp_path / "x.jsonl")
    writer.write(frame, found)
    writer.write(of_film, found)
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        record_of(frame, found),
        record_of(of_film, found),
    ]
    writer.close()


def test_csv_has_a_row_a_detection(
    frame: Frame, found: NamedDetections, of_film: Frame, tmp_path: Path
) -> None:
    odd = replace(found, class_names=("cat", 'a "dog", wet\nor dry', "red fox"))
    writer = CSVWriter(tmp_path / "x.csv")
    for one, what in ((frame, odd), (frame, odd[:0]), (of_film, odd[:1])):
        writer.write(one, what)
    writer.close()
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert rows[0] == {
        "file": str(frame.source),
        "frame": "",
        "time": "",
        "width": "64",
        "height": "48",
        "label": 'a "dog", wet\nor dry',
        "label_id": "2",
        "score": "0.9",
        "x1": "1.0",
        "y1": "2.0",
        "x2": "30.12",
        "y2": "40.5",
    }
    assert (rows[3]["file"], rows[3]["frame"], rows[3]["time"]) == ("käse.mp4", "7", "1.4")
