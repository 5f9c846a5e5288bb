"""`rfcn infer`: pictures in, annotated copies, JSON and score maps out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from rfcn.cli.main import main
from rfcn.datasets.image import read_image
from rfcn.inference.detector import Detector


@pytest.fixture
def infer(trained_run, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """`rfcn infer` into `seen`; -> what its JSON says."""

    def run(*words: str | Path) -> list[dict[str, Any]]:
        output = tmp_path / "seen"
        command = ["infer", "-w", trained_run.weights, "-o", output, "-i", *words]
        assert main([str(word) for word in command]) == 0
        return json.loads((output / "detections.json").read_text())

    return run


def outputs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file(infer, trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = trained_run.pictures[0]
    (record,) = infer(picture, "--threshold", "0.05")
    assert outputs(tmp_path / "seen") == [f"{picture.stem}.jpg", "detections.json"]
    image = read_image(picture)
    drawn = read_image(tmp_path / "seen" / f"{picture.stem}.jpg")
    assert drawn.shape == image.shape
    assert np.abs(drawn.astype(int) - image).max() > 50, "boxes are drawn"
    assert f"{picture}: " in capsys.readouterr().out

    found = Detector.from_pretrained(trained_run.weights).predict([image])[0].above(0.05)
    assert record["file"] == str(picture)
    assert [record["height"], record["width"]] == list(image.shape[:2])
    assert len(record["detections"]) == len(found) > 0
    for one, label, score, box in zip(
        record["detections"], found.labels, found.scores, found.boxes, strict=True
    ):
        assert one["label_id"] == int(label)
        assert one["label"] == sorted_names(trained_run)[int(label) - 1]
        assert one["score"] == pytest.approx(float(score), abs=1e-6)
        assert one["box"] == pytest.approx(box.tolist(), abs=0.01)


def sorted_names(trained_run: Any) -> list[str]:
    return json.loads((trained_run.weights / "config.json").read_text())["classes"]


# I14
def test_a_folder_and_a_pattern(
    infer, trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for picture in trained_run.pictures[:2]:
        shutil.copy(picture, photos)
    for number in range(7):
        (photos / f"notes{number}.txt").touch()
    assert [Path(one["file"]).parent for one in infer(photos)] == [photos, photos]
    said = capsys.readouterr().out
    assert f"passed over: {photos / 'notes0.txt'}, " in said
    assert "and 2 more" in said
    assert f"2 pictures and detections.json are in {tmp_path / 'seen'}" in said
    # a second time into the same folder: it is this command's own
    assert len(infer(f"{photos}/*{trained_run.pictures[0].name}")) == 1


def test_nothing_above_the_threshold(
    infer, trained_run, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = infer(trained_run.pictures[0], "--threshold", "1")
    assert record["detections"] == []
    assert ": nothing\n" in capsys.readouterr().out


def test_what_a_test_does_can_be_overridden(infer, trained_run) -> None:
    words = ("--threshold", "0", "--set", "model.postprocess.max_detections=3")
    (record,) = infer(trained_run.pictures[0], *words)
    assert len(record["detections"]) == 3


def test_score_maps(infer, trained_run, tmp_path: Path) -> None:
    first, second = trained_run.pictures[:2]
    infer(first, second, "--threshold", "0.02", "--score-maps", "1")
    for picture in (first, second):
        maps = read_image(tmp_path / "seen" / f"{picture.stem}_score_maps_1.png")
        assert maps.shape[0] > 500
        assert maps.std() > 10
    infer(first, "--threshold", "0.02", "--score-maps", "9999")  # so many there are not
    assert not list((tmp_path / "seen").glob("*9999*"))


# L8
def test_l8_equal_stems(infer, trained_run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(trained_run.pictures[0], photos / "a.jpg")
    Image.open(trained_run.pictures[1]).save(photos / "a.png")
    assert len(infer(photos)) == 2
    assert outputs(tmp_path / "seen") == ["a.jpg", "a_2.jpg", "detections.json"]


# L8
def test_l8_a_folder_of_pictures_is_never_written_to(fault, trained_run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(trained_run.pictures[0], photos / name)
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    message = fault(
        "infer", "-w", trained_run.weights, "-i", photos / "a.jpg", "-o", photos, code=2
    )
    assert f"--output {photos} holds files that this command did not write" in message
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


# L8
def test_l8_its_own_copies_as_input_stay_as_they_are(infer, trained_run, tmp_path: Path) -> None:
    infer(trained_run.pictures[0])
    seen = tmp_path / "seen"
    copy = seen / f"{trained_run.pictures[0].stem}.jpg"
    before = copy.read_bytes()
    infer(copy)
    assert copy.read_bytes() == before
    assert (seen / f"{copy.stem}_2.jpg").exists()


def test_a_broken_picture_does_not_keep_the_others_back(fault, trained_run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    content = trained_run.pictures[0].read_bytes()
    (photos / "a.jpg").write_bytes(content)
    (photos / "b.jpg").write_bytes(content[:-2000])
    (photos / "c.jpg").write_bytes(content)
    output = tmp_path / "seen"
    message = fault("infer", "-w", trained_run.weights, "-i", photos, "-o", output, code=3)
    assert "1 of 3 pictures could not be read" in message
    assert f"{photos / 'b.jpg'}: the picture is damaged" in message
    assert "Copy it anew" in message
    records = json.loads((output / "detections.json").read_text())
    assert [Path(one["file"]).name for one in records] == ["a.jpg", "c.jpg"]


# ------------------------------------------------------------------------------------------ faults


# I14
def test_i14_an_empty_folder(fault, trained_run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    output = tmp_path / "seen"
    words = ("infer", "-w", trained_run.weights, "-o", output, "-i")
    assert f"no pictures in {tmp_path / 'empty'}. Give" in fault(*words, tmp_path / "empty", code=3)
    assert "no such file or folder" in fault(*words, tmp_path / "absent.jpg", code=3)
    assert not output.exists()


# I15
@pytest.mark.parametrize("kind", ["whole", "torn", "empty"])
def test_i15_videos_are_named_with_what_to_do(fault, trained_run, tmp_path: Path, kind) -> None:
    clip = tmp_path / "clip.avi"  # motion JPEG, which every OpenCV writes
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for shade in range(4):
        writer.write(np.full((48, 64, 3), 60 * shade, np.uint8))
    writer.release()
    content = clip.read_bytes()
    clip.write_bytes({"whole": content, "torn": content[:200], "empty": b""}[kind])
    message = fault("infer", "-w", trained_run.weights, "-i", clip, "-o", tmp_path / "o", code=3)
    says = "the file is empty" if kind == "empty" else "a video, of which pictures must be taken"
    assert f"{clip}: {says}" in message


# L6
def test_l6_no_weights(fault, trained_run, tmp_path: Path) -> None:
    picture = trained_run.pictures[0]
    assert "-w/--weights" in fault("infer", "-i", picture, code=2)
    words = ("-i", picture, "-o", tmp_path / "seen")
    message = fault("infer", "-w", tmp_path / "absent", *words, code=4)
    assert f"{tmp_path / 'absent'} holds no weights but is missing" in message
    (tmp_path / "empty").mkdir()
    message = fault("infer", "-w", tmp_path / "empty", *words, code=4)
    assert "is a folder without model.safetensors" in message
    assert not (tmp_path / "seen").exists()


# L7
@pytest.mark.parametrize("text", ["1.7", "nan", "-0.1", "half"])
def test_l7_thresholds_out_of_range(fault, text: str) -> None:
    message = fault("infer", "-w", "x", "-i", "y", f"--threshold={text}", code=2)
    assert f"argument --threshold: '{text}' is not a number from 0 to 1" in message
    assert "Did you mean" not in message


@pytest.mark.parametrize("text", ["-1", "first"])
def test_score_maps_of_no_detection(fault, text: str) -> None:
    message = fault("infer", "-w", "x", "-i", "y", f"--score-maps={text}", code=2)
    assert f"argument --score-maps: '{text}' is not a whole number from 0 on" in message


# L3
def test_l3_no_such_device(fault, trained_run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    words = ("infer", "-w", trained_run.weights, "-i", trained_run.pictures[0], "-o", "never")
    assert "--device cpu" in fault(*words, "--device", "cuda", code=6)


# L5
def test_l5_output_is_a_file(fault, trained_run, tmp_path: Path) -> None:
    words = ("infer", "-w", trained_run.weights, "-i", trained_run.pictures[0])
    assert "is a file" in fault(*words, "-o", trained_run.config, code=2)
