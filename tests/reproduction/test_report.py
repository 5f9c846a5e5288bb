"""Both figures side by side: the table's text, its files and the margins it promises."""

import csv
import json

from rfcn.reproduction.report import HEADER, table_cells, unmet_margins, write_table
from rfcn.reproduction.run import Outcome
from rfcn.reproduction.tables import Margin, Row, Table

TABLE = Table(
    "Two systems",
    (
        Row("a", "system a", "a.yaml", paper=76.6),
        Row("b", "system b", "b.yaml", remark="fails"),
        Row("c", "system c", "c.yaml", paper=70.0),
    ),
    margins=(Margin("a", "b", 10),),
)


def outcome(row, seed, ap, high=None):
    return Outcome(row, seed, {"0.5": ap, "0.7": high}, 1600, 0.05, 0.02, "0123456789abcdef")


RUNS = [
    outcome("a", 0, 0.8, 0.5),
    outcome("a", 1, 0.6, 0.3),
    outcome("b", 0, 0.65),
    outcome("b", 1, 0.55),
]


def test_cells_of_rows_with_and_without_runs():
    a, b, c = table_cells(TABLE, RUNS)
    assert a == (
        *("system a", "76.6", "70.0 (80.0, 60.0)", "40.0 (50.0, 30.0)", "0, 1", "1,600"),
        *("0.050", "0.020", "0123456"),
    )
    assert b[1:4] == ("fails", "60.0 (65.0, 55.0)", "-")
    assert c == ("system c", "70", *["-"] * 7)
    assert len(a) == len(HEADER)


def test_margins_are_asked_of_every_seed():
    assert unmet_margins(TABLE, RUNS) == [
        "seed 1: a (60.0) should be at least 10 points above b (55.0)"
    ]
    assert unmet_margins(TABLE, RUNS[:1]) == []  # nothing to compare with yet


def test_files_of_a_table(tmp_path):
    write_table(TABLE, RUNS, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("### Two systems")
    assert "| system a | 76.6 | 70.0 (80.0, 60.0) |" in text
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(HEADER)
    assert rows[1][2] == "70.0 (80.0, 60.0)"
    facts = json.loads((tmp_path / "table.json").read_text())
    assert [len(row["runs"]) for row in facts["rows"]] == [2, 2, 0]
    assert len(facts["unmet"]) == 1
    assert (tmp_path / "table.png").stat().st_size > 3000
