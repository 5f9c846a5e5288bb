"""`rfcn infer`: pictures in, annotated copies, JSON and score maps out."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from rfcn.cli.main import main
from rfcn.datasets.coco import COCODataset
from rfcn.datasets.image import read_image
from rfcn.datasets.voc import VOCDataset
from rfcn.datasets.yolo import YOLODataset
from rfcn.inference.detector import Detector
from rfcn.inference.film import Film

ROOT = Path(__file__).resolve().parents[2]


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
    assert outputs(tmp_path / "seen") == [f"{picture.stem}.jpg", "detections.json", "infer.json"]
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
    assert re.search(r"2 pictures in .* s, .* a second \(.* s of it detecting\): ", said)
    assert f"; see {tmp_path / 'seen'}\n" in said
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
    assert outputs(tmp_path / "seen") == ["a.jpg", "a_2.jpg", "detections.json", "infer.json"]


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
    assert "1 of 3 inputs could not be read" in message
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


@pytest.fixture
def clip(tmp_path: Path, trained_run) -> Callable[..., Path]:
    """Writes a video of so many frames, each a picture of the data set."""

    def write(frames: int = 4, *, keep: float = 1) -> Path:
        path = tmp_path / "clip.avi"  # motion JPEG, which every OpenCV writes
        images = [read_image(one) for one in trained_run.pictures[:2]]
        height, width = images[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (width, height))
        for number in range(frames):
            frame = cv2.resize(images[number % 2], (width, height))
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        content = path.read_bytes()
        path.write_bytes(content[: round(len(content) * keep)])
        return path

    return write


# I15
def test_i15_a_video(infer, clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = infer(clip(), "--score", "0.05", "--batch-size", "3")
    assert [one["frame"] for one in records] == [0, 1, 2, 3]
    assert [one["time"] for one in records] == [0, 0.2, 0.4, 0.6]
    assert sum(len(one["detections"]) for one in records) > 0
    assert records[0]["detections"] == records[2]["detections"]
    assert f"{tmp_path / 'clip.avi'}: 4 frames, " in capsys.readouterr().out
    (film,) = (path for path in (tmp_path / "seen").iterdir() if path.stem == "clip")
    assert outputs(tmp_path / "seen") == sorted([film.name, "detections.json", "infer.json"])
    frames = [image for _, image in Film(film).frames()]
    assert len(frames) == 4
    plain = [image for _, image in Film(tmp_path / "clip.avi").frames()]
    assert np.abs(frames[0].astype(int) - plain[0]).max() > 80, "boxes are drawn"

    infer(clip(), "--save", "annotated", "jsonl", "--every", "2", "--limit", "1")
    assert (tmp_path / "seen" / "clip_000000.jpg").exists()
    assert not (tmp_path / "seen" / "clip_000002.jpg").exists()
    assert len((tmp_path / "seen" / "detections.jsonl").read_text().splitlines()) == 1


# I15
@pytest.mark.parametrize("kind", ["torn", "cut short", "empty"])
def test_i15_what_a_damaged_video_has_is_kept(
    fault, trained_run, clip, tmp_path: Path, kind: str
) -> None:
    film = clip(40, keep={"torn": 0.5, "cut short": 0.01, "empty": 0}[kind])
    output = tmp_path / "seen"
    words = ("infer", "-w", trained_run.weights, "-o", output, "--save", "json", "--every", "9")
    message = fault(*words, "-i", film, trained_run.pictures[0], code=3)
    assert "1 of 2 inputs could not be read, or not to their end" in message
    says = {"torn": "the video breaks off", "cut short": "no video", "empty": "file is empty"}
    assert f"{film}: " in message
    assert says[kind] in message
    records = json.loads((output / "detections.json").read_text())
    assert records[-1]["file"] == str(trained_run.pictures[0])
    assert (len(records) > 1) == (kind == "torn")
    (told,) = json.loads((output / "infer.json").read_text())["not_read"]
    assert told["file"] == str(film)


def test_a_camera(infer, clip, monkeypatch: pytest.MonkeyPatch) -> None:
    film, whole = clip(), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: whole(str(film) if name == 0 else name))
    records = infer("0", "--limit", "2", "--score", "0.05")
    assert [(one["file"], one["frame"]) for one in records] == [("camera 0", 0), ("camera 0", 1)]


def test_every_format_at_once(infer, trained_run, tmp_path: Path) -> None:
    pictures = trained_run.pictures[:2]
    formats = ("annotated", "json", "jsonl", "csv", "coco", "voc", "yolo", "crops")
    records = infer(*pictures, "--score", "0.02", "--max-detections", "4", "--save", *formats)
    seen, names = tmp_path / "seen", sorted_names(trained_run)
    lines = (seen / "detections.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    with (seen / "detections.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert len(list((seen / "crops").rglob("*.jpg"))) == 8
    sets = (
        (VOCDataset(seen / "voc", "detections", classes=names), 1.3),
        (COCODataset(seen / "coco", "detections"), 1e-2),
        (YOLODataset(seen / "yolo", "detections"), 1e-2),
    )
    for dataset, pixels in sets:
        assert list(dataset.class_names) == names
        assert len(dataset) == 2
        for index, record in enumerate(records):
            target = dataset[index].target
            assert target.labels.tolist() == [one["label_id"] for one in record["detections"]]
            for box, one in zip(target.boxes.tolist(), record["detections"], strict=True):
                assert box == pytest.approx(one["box"], abs=pixels)
    words = ["infer", "-w", trained_run.weights, "-i", pictures[0], "-o", seen, "--save", "voc"]
    assert main([str(word) for word in words]) == 2  # somebody may have corrected it


def test_classes_and_how_many(infer, trained_run) -> None:
    picture, names = trained_run.pictures[0], sorted_names(trained_run)
    (everything,) = infer(picture, "--score", "0")
    (chosen,) = infer(
        picture, "--score", "0", "--classes", names[2], names[5], "--max-detections", "7"
    )
    wanted = [one for one in everything["detections"] if one["label"] in (names[2], names[5])]
    assert chosen["detections"] == wanted[:7]
    (more,) = infer(picture, "--score", "0", "--max-detections", "400")
    assert len(more["detections"]) >= len(everything["detections"])


def test_tta(infer, trained_run) -> None:
    picture = trained_run.pictures[0]
    words = (picture, "--score", "0.01", "--max-detections", "5")
    (plain,) = infer(*words)
    (turned,) = infer(*words, "--tta", "flip", "voting")
    (same,) = infer(*words, "--set", "model.test_time.flip=true", "model.postprocess.box_voting={}")
    assert turned["detections"] == same["detections"] != plain["detections"]
    (undone,) = infer(*words, "--tta", "flip", "--set", "model.test_time.flip=false")
    assert undone["detections"] == plain["detections"]


def test_a_list_and_folders_below(infer, trained_run, tmp_path: Path) -> None:
    deep = tmp_path / "photos" / "deep"
    deep.mkdir(parents=True)
    shutil.copy(trained_run.pictures[0], deep / "a.jpg")
    shutil.copy(trained_run.pictures[1], deep.parent / "b.jpg")
    assert len(infer(deep.parent)) == 1
    assert len(infer(deep.parent, "--recursive")) == 2
    (tmp_path / "list.txt").write_text("photos/b.jpg\n")
    assert [Path(one["file"]).name for one in infer(tmp_path / "list.txt")] == ["b.jpg"]


# L11
def test_l11_stopped_on_the_way(trained_run, tmp_path: Path) -> None:
    """A real process and a real signal, among more pictures than it can manage."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3000):
        (photos / f"{number:04}.jpg").symlink_to(trained_run.pictures[0])
    output = tmp_path / "seen"
    words = ["infer", "-w", trained_run.weights, "-i", photos, "-o", output]
    words += ["--save", "jsonl", "json", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rfcn.cli.main", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "0000.jpg: " in process.stdout.readline()  # it is at work
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in complained
    assert "SIGINT: stopping after this step" in complained
    records = json.loads((output / "detections.json").read_text())
    assert 0 < len(records) < 3000
    assert len((output / "detections.jsonl").read_text().splitlines()) == len(records)
    assert f"{len(records)} pictures in" in said
    assert json.loads((output / "infer.json").read_text())["stopped_by"] == "SIGINT"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--classes", "unicorn"], 2, "no class 'unicorn'"),
        (["--save", "pdf"], 2, "invalid choice: 'pdf'"),
        (["--save", "video"], 2, "there is no video among the inputs"),
        (["--tta", "magic"], 2, "invalid choice: 'magic'"),
        (["--batch-size", "0"], 2, "'0' is not a whole number from 1 on"),
        (["--score-maps", "0", "--classes", "ring"], 2, "leave --classes out"),
        (["-i", "-"], 3, "not read from standard input"),
        (["--set", "model.test_time.flop=true"], 2, "Did you mean 'model.test_time.flip'"),
    ],
)
def test_wishes_that_cannot_be(
    fault, trained_run, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    given = ("infer", "-w", trained_run.weights, "-i", trained_run.pictures[0])
    assert says in fault(*given, "-o", tmp_path / "seen", *words, code=code)
    assert not (tmp_path / "seen").exists()


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
    assert f"argument --score/--threshold: '{text}' is not a number from 0 to 1" in message
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
