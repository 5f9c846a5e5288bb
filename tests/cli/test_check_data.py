"""`rfcn check-data`: options, exit codes, files, and being stopped on the way."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rfcn.cli.main import main
from rfcn.datasets.shapes import make_shapes
from rfcn.datasets.survey import Look, survey


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean generated set of 4 + 2 pictures."""
    folder = tmp_path_factory.mktemp("check") / "shapes"
    make_shapes(folder, train=4, val=2)
    return folder


def test_a_folder_without_a_config(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check-data", "--data", str(shapes), "--sets", "train", "val", "--workers", "0"]
    skip = ["--set", "data.unknown_class=skip"]  # so few pictures do not show every class
    files = ["--json", str(tmp_path / "new" / "check.json"), "--html", str(tmp_path / "a.html")]
    code = main([*words, *skip, *files])
    told = json.loads((tmp_path / "new" / "check.json").read_text())
    assert code == 0
    assert told["counts"]["fault"] == 0
    assert [part["pictures"] for part in told["parts"]] == [4, 2]
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert "6 pictures looked at: " in capsys.readouterr().out


def test_one_set_alone_and_strictly(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check-data", "--data", str(shapes), "--workers", "0", "--sets"]
    assert main([*words, "train"]) == 0
    assert "4 pictures looked at" in capsys.readouterr().out
    assert main([*words, "train", "train"]) == 0  # a leak is a warning
    assert "pictures of val that are in train too: 4" in capsys.readouterr().out
    assert main([*words, "train", "train", "--strict"]) == 1


def test_a_fault_ends_with_3(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check-data", "-c", "demo.yaml", "--workers", "0", "--set", f"data.root={shapes}"]
    assert main([*words, "data.train=train", "data.val=absent"]) == 3
    assert "fault: val: cannot be read: 1 (training stops)" in capsys.readouterr().out


def test_wrong_options(fault, shapes: Path, tmp_path: Path) -> None:
    assert "name either a config" in fault("check-data", "--strict", code=2)
    assert "name either" in fault("check-data", "-c", "demo.yaml", "--data", shapes, code=2)
    assert "--sets TRAIN [VAL]" in fault("check-data", "--data", shapes, code=2)
    assert "go with --data" in fault("check-data", "-c", "demo.yaml", "--format", "voc", code=2)
    words = ("check-data", "--data", shapes, "--sets", "train")
    assert "is a folder" in fault(*words, "--json", tmp_path, code=2)
    assert "whole number" in fault(*words, "--workers", "-1", code=2)


def test_the_layout_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "annotations").mkdir()
    assert main(["check-data", "--data", str(tmp_path), "--sets", "val2017"]) == 3
    assert "instances_val2017.json" in capsys.readouterr().out


def test_yolo_folders_are_checked_too(tmp_path: Path) -> None:
    for part in ("images/train", "labels/train"):
        (tmp_path / part).mkdir(parents=True)
    Image.new("RGB", (40, 30), (9, 99, 200)).save(tmp_path / "images/train/a.png")
    (tmp_path / "labels/train/a.txt").write_text("0 .5 .5 .4 .4\n0 .5 .5 .4 .4\n0 .5 .5 0 .4\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    words = ["check-data", "--data", str(tmp_path), "--sets", "train", "--workers", "0"]
    assert main([*words, "--json", str(tmp_path / "j.json")]) == 3
    told = json.loads((tmp_path / "j.json").read_text())
    assert told["data"]["format"] == "yolo"
    assert [(one["kind"], one["level"]) for one in told["cases"]] == [
        ("bad", "fault"),
        ("twice", "warning"),
    ]


# L11
def test_l11_ctrl_c_leaves_the_report_of_what_was_seen(
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*words: object, **rules: object) -> Iterator[Look]:
        for number, look in enumerate(survey(*words, **rules)):  # type: ignore[arg-type]
            if number == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield look

    monkeypatch.setattr("rfcn.inspection.check.survey", interrupted)
    words = ["check-data", "--data", str(shapes), "--sets", "train", "val", "--workers", "0"]
    files = ["--json", str(tmp_path / "j"), "--html", str(tmp_path / "h")]
    assert main([*words, *files]) == 130
    assert "Stopped after 3 of 6 pictures, so far: " in capsys.readouterr().out
    told = json.loads((tmp_path / "j").read_text())
    assert told["complete"] is False
    assert [part["looked_at"] for part in told["parts"]] == [3, 0]
    assert "Stopped after 3 of 6" in (tmp_path / "h").read_text()
