"""`rfcn fetch-data`."""

import subprocess
import sys
from pathlib import Path

import pytest

from rfcn.cli import fetch_data
from rfcn.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_set_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch-data"]) == 0
    out = capsys.readouterr().out
    assert "voc2007   PASCAL VOC 2007, trainval and test: 0.9 GB to fetch" in out
    assert "coco2017" in out


def test_unknown_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch-data", "voc1999", "-o", str(tmp_path / "data")]) == 2
    assert "unknown set 'voc1999'. There are voc2007, " in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_sets_are_fetched_from_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def fetch(published, root, *, keep_archives):  # type: ignore[no-untyped-def]
        seen.append((published.archives[0].url, root, keep_archives))
        return root

    monkeypatch.setattr("rfcn.datasets.published_sets.fetch", fetch)
    output = str(tmp_path / "data")
    command = ["fetch-data", "voc2007", "voc2012", "-o", output, "--mirror", "https://m.org/v"]
    assert main(command) == 0
    assert [url for url, _, _ in seen] == [
        "https://m.org/v/VOCtrainval_06-Nov-2007.tar",
        "https://m.org/v/VOCtrainval_11-May-2012.tar",
    ]
    assert "voc2012: all of it is in" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rfcn.datasets.published_sets.fetch", fetch)
    assert main(["fetch-data", "voc2007", "-o", str(tmp_path)]) == 130
    assert "goes on where it was" in capsys.readouterr().out


def test_it_runs_from_the_folder_of_data() -> None:
    command = [sys.executable, str(ROOT / "data/fetch.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "voc2007, voc2012, coco2017, coco2014" in done.stdout
    assert fetch_data.__doc__ is not None
