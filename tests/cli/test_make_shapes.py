"""`rfcn make-shapes`."""

from pathlib import Path

import pytest

from rfcn.cli.main import main


def test_it_draws_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shapes"
    assert main(["make-shapes", "-o", str(folder), "--train", "2", "--val", "1"]) == 0
    assert len((folder / "ImageSets/Main/train.txt").read_text().split()) == 2
    assert len(list((folder / "JPEGImages").iterdir())) == 3
    assert str(folder) in capsys.readouterr().out


def test_it_draws_the_kind_that_was_asked_for(tmp_path: Path) -> None:
    command = ["make-shapes", "-o", str(tmp_path), "--train", "1", "--val", "1"]
    assert main([*command, "--kind", "position"]) == 0
    assert "<name>lights_" in (tmp_path / "Annotations/000000.xml").read_text()


def test_at_least_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-shapes", "-o", str(tmp_path / "s"), "--val", "0"]) == 2
    assert "--val 0: expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
