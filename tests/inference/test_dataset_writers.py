"""What was found, as data sets that this project reads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.coco import COCODataset
from rfcn.datasets.listed import ListedPictures
from rfcn.datasets.voc import VOCDataset
from rfcn.datasets.yolo import YOLODataset
from rfcn.evaluation.submission import Naming, load_coco_results
from rfcn.inference.dataset_writers import SET, COCOWriter, VOCWriter, YOLOWriter
from rfcn.inference.frames import FilmFacts, Frame
from rfcn.inference.results import NamedDetections
from rfcn.inference.writers import Writer

NAMES = ("cat", "dog", "red fox")


def write(writer: Writer, frame: Frame, found: NamedDetections) -> None:
    """A picture from a file, one in which nothing was found, and a frame of a film."""
    writer.write(frame, found)
    writer.write(replace(frame, stem="none 1"), found[:0])
    film = FilmFacts("clip", 5.0)
    writer.write(replace(frame, source=Path("c.mp4"), stem="c_0", number=0, film=film), found[:1])
    writer.close()


def check(dataset: ListedPictures, found: NamedDetections, *, pixels: float) -> None:
    assert tuple(dataset.class_names) == NAMES
    assert [Path(path).stem for path in dataset.paths] == ["a", "none 1", "c_0"]
    assert dataset.sizes == [(48, 64)] * 3
    for index, count in enumerate((3, 0, 1)):
        sample = dataset[index]
        assert sample.target.labels.tolist() == found.labels[:count].tolist()
        torch.testing.assert_close(sample.target.boxes, found.boxes[:count], rtol=0, atol=pixels)
    source = found.image.astype(int)
    assert np.array_equal(dataset[0].image, source), "the file itself"
    assert np.abs(dataset[2].image - source).mean() < 6, "a frame as JPEG"
    assert not [note for note in dataset.notes if "dropped" in note]


def test_voc(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    write(VOCWriter(tmp_path / "voc"), frame, found)
    dataset = VOCDataset(tmp_path / "voc", SET, classes=NAMES)
    check(dataset, found, pixels=1.3)  # the slim fox is two pixels wide in whole ones
    assert dataset[0].target.boxes.tolist() == [[1, 2, 30, 40], [0, 0, 25, 25], [62, 10, 64, 40]]


def test_yolo(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    write(YOLOWriter(tmp_path / "yolo", NAMES), frame, found)
    dataset = YOLODataset(tmp_path / "yolo", SET)
    order = [dataset.ids.index(name) for name in ("a", "none 1", "c_0")]
    dataset = YOLODataset(tmp_path / "yolo", "train")
    assert len(dataset) == 3
    for index, count in zip(order, (3, 0, 1), strict=True):
        boxes = dataset.target(index).boxes
        torch.testing.assert_close(boxes, found.boxes[:count], rtol=0, atol=1e-3)
    assert tuple(dataset.class_names) == NAMES
    assert np.array_equal(dataset[order[0]].image, frame.image)


def test_coco(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    write(COCOWriter(tmp_path / "coco", NAMES), frame, found)
    dataset = COCODataset(tmp_path / "coco", SET)
    check(dataset, found, pixels=1e-3)
    content = json.loads(
        (tmp_path / "coco" / "annotations" / f"instances_{SET}.json").read_text(encoding="utf-8")
    )
    assert [one["score"] for one in content["annotations"]] == [0.9, 0.75, 0.5, 0.9]
    naming = Naming(dict(zip("abc", dataset.original_ids, strict=True)), NAMES, (1, 2, 3))
    results = load_coco_results(tmp_path / "coco" / "results.json", naming)
    assert results["a"].scores.tolist() == [0.9, 0.75, 0.5]
    assert [len(results[name]) for name in "abc"] == [3, 0, 1]


def test_nothing_at_all(tmp_path: Path) -> None:
    for writer in (VOCWriter(tmp_path / "v"), YOLOWriter(tmp_path / "y", NAMES)):
        writer.close()
    COCOWriter(tmp_path / "c", NAMES).close()
    assert json.loads((tmp_path / "c" / "results.json").read_text()) == []


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ([0.0, 0, 64, 48], [0, 0, 64, 48]),
        ([10.4, 10.6, 20.4, 20.6], [10, 11, 20, 21]),
        ([0.0, 0, 0, 0], [0, 0, 2, 2]),
        ([63.9, 47.9, 64, 48], [62, 46, 64, 48]),
    ],
)
def test_voc_boxes_keep_an_area(
    frame: Frame, found: NamedDetections, tmp_path: Path, box: list[float], corners: list[int]
) -> None:
    writer = VOCWriter(tmp_path / "voc")
    writer.write(frame, replace(found[:1], boxes=torch.tensor([box])))
    writer.close()
    dataset = VOCDataset(tmp_path / "voc", SET, classes=NAMES)
    assert dataset[0].target.boxes.tolist() == [corners]


# I7
def test_i7_turned_pictures_stay_turned(frame: Frame, found: NamedDetections, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(frame.image)).save(path, exif=exif)
    writer = VOCWriter(tmp_path / "voc")
    writer.write(replace(frame, source=path), found)
    writer.close()
    sample = VOCDataset(tmp_path / "voc", SET, classes=NAMES)[0]
    assert np.array_equal(sample.image, frame.image)
    torch.testing.assert_close(sample.target.boxes, found.boxes, rtol=0, atol=1.3)
