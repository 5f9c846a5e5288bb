"""`rfcn reproduce` from the command line, on a table of two tiny rows."""

import pytest

from rfcn.cli import reproduce
from rfcn.cli.main import main
from rfcn.reproduction import run, tables
from rfcn.reproduction.run import Outcome
from rfcn.reproduction.tables import Margin, Row, Scale, Table


@pytest.fixture
def two_rows(trained_run, monkeypatch):
    config = str(trained_run.config)
    rows = (Row("one", "first", config, 50.0), Row("two", "second", config, remark="fails"))
    table = Table("Two rows", rows, margins=(Margin("one", "two", 101),))
    monkeypatch.setattr(reproduce, "TABLES", {"two": table})
    monkeypatch.setitem(tables.SCALES, "toy", Scale("as it is"))
    return [
        "--set",
        "train.iterations=3",
        "train.lr_steps=[]",
        "train.warmup_iterations=0",
        "runtime.pictures=0",
    ]


def test_a_table_is_run_row_by_row_and_a_broken_promise_is_said(two_rows, tmp_path, capsys):
    command = ["reproduce", "two", "-o", str(tmp_path / "t"), *two_rows]
    assert main([*command, "--rows", "one"]) == 0
    assert main(command) == 1
    assert main([*command, "--rows", "two"]) == 1  # what was measured before is still in the table
    assert "| second | fails | -" not in (tmp_path / "t" / "table.md").read_text()
    assert "| first | 50 | -" not in (tmp_path / "t" / "table.md").read_text()
    said = capsys.readouterr()
    assert "one, seed 0: done before" in said.out
    assert "first" in said.out
    assert "fails" in said.out
    assert "error: seed 0: one (" in said.err
    assert (tmp_path / "t" / "table.md").is_file()
    assert (tmp_path / "t" / "two" / "seed0" / "outcome.json").is_file()


def test_an_unknown_row_is_refused_with_the_known_ones(two_rows, tmp_path, capsys):
    assert main(["reproduce", "two", "-o", str(tmp_path), "--rows", "three"]) == 2
    assert "--rows: no row three; at this scale the table has one, two." in capsys.readouterr().err


def test_a_scale_that_a_table_lacks_is_refused(tmp_path, capsys):
    command = ["reproduce", "position", "--scale", "paper", "-o", str(tmp_path)]
    assert main(command) == 2
    assert "--scale paper: position is run at toy only." in capsys.readouterr().err


def test_a_stopped_table_goes_on_at_the_row_it_was_stopped_in(
    two_rows, tmp_path, monkeypatch, capsys
):
    """What is done is in the table already; the row that was stopped is given its folder again."""
    asked = []

    def run_row(row, config, folder):
        asked.append(folder.relative_to(tmp_path).as_posix())
        stopped = row.name == "two" and asked.count("two/seed0") == 1
        return 15 if stopped else Outcome(row.name, 0, {"0.5": 0.5}, 3, 0.1, 0.1, None)

    monkeypatch.setattr(run, "run_row", run_row)
    monkeypatch.setattr(run, "prepare_data", lambda config, scale: None)
    command = ["reproduce", "two", "-o", str(tmp_path)]
    assert main(command) == 128 + 15
    assert "give the same command again to go on" in capsys.readouterr().out
    assert "| first | 50 | 50.0 |" in (tmp_path / "table.md").read_text()
    assert main(command) == 1  # done; the margin of 101 points is not met
    assert asked == ["one/seed0", "two/seed0"] * 2
