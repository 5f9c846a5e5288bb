"""`rfcn explain`: a picture in, the picture and the page of one detection out."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rfcn.cli.main import main
from rfcn.datasets.image import read_image
from rfcn.inference.detector import Detector


def explained(trained_run, output: Path, *words: str) -> int:
    picture = trained_run.pictures[0]
    command = ["explain", "-w", trained_run.weights, picture, "-o", output, *words]
    return main([str(word) for word in command])


def test_a_picture_and_a_page(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, output = trained_run.pictures[0], tmp_path / "why"
    before = picture.read_bytes()
    assert explained(trained_run, output, "--detection", "1") == 0
    stem = f"{picture.stem}_explained_1"
    assert sorted(path.name for path in output.iterdir()) == [f"{stem}.html", f"{stem}.png"]
    assert picture.read_bytes() == before

    found = Detector.from_pretrained(trained_run.weights).predict(picture)
    said = capsys.readouterr().out
    assert f"detection 1: {found.names[1]} {float(found.scores[1]):.3f}; runner-up " in said
    assert f"{output / stem}.html the page" in said
    assert read_image(output / f"{stem}.png").std() > 20

    html = (output / f"{stem}.html").read_text(encoding="utf-8")
    assert picture.name in html
    data = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    own = json.loads(data[1])["places"][0]["classes"][0]
    assert own["score"] == pytest.approx(float(found.scores[1]), abs=1e-5)
    assert np.mean(own["votes"]) == pytest.approx(own["logit"], abs=1e-5)


def test_the_surest_of_a_class(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Detector.from_pretrained(trained_run.weights).predict(trained_run.pictures[0])
    last = list(dict.fromkeys(found.names))[-1]
    assert explained(trained_run, tmp_path / "why", "--class", last) == 0
    assert f"detection {found.names.index(last)}: {last} " in capsys.readouterr().out


def test_what_is_not_there(fault, trained_run, tmp_path: Path) -> None:
    words = ("explain", "-w", trained_run.weights, trained_run.pictures[0], "-o", tmp_path / "why")
    found = Detector.from_pretrained(trained_run.weights).predict(trained_run.pictures[0])
    message = fault(*words, "--detection", "9999", code=2)
    assert "there is no detection 9999. Found were, surest first: " in message
    assert f"0 {found.names[0]}" in message
    assert "no class 'nobody'" in fault(*words, "--class", "nobody", code=2)
    drop = ("--set", "model.postprocess.score_threshold=1")
    assert "nothing was found" in fault(*words, *drop, code=2)
    assert not (tmp_path / "why").exists()


def test_detectors_without_one_set_of_maps_are_refused(fault, trained_run, tmp_path: Path) -> None:
    words = ("explain", "-w", trained_run.weights, trained_run.pictures[0], "-o", tmp_path / "why")
    message = fault(*words, "--set", "model.test_time.flip=true", code=2)
    assert "more than once" in message
    assert message.strip().count("\n") == 0


def test_a_picture_that_cannot_be_read(fault, trained_run, tmp_path: Path) -> None:
    words = ("explain", "-w", trained_run.weights, tmp_path / "no.jpg", "-o", tmp_path / "why")
    assert "no.jpg" in fault(*words, code=3)
