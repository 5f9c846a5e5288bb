"""COCO's files: genuine ones where they are, and what is wrong with others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.coco import COCODataset
from rfcn.datasets.sample import Dataset
from rfcn.errors import DataError
from rfcn.models.transfer import shared_classes

Write = Callable[..., Path]
VOC = "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
VOC += "person pottedplant sheep sofa train tvmonitor"
OBJECT = {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4]}
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


@pytest.fixture
def write_coco(tmp_path: Path) -> Write:
    """Writes a set of pictures of 40 x 30 pixels and returns the root.

    `write_coco({5: [(3, 1, 2, 10, 20)], 9: []})`: picture 5 has an object of category 3.
    """

    def write(
        pictures: dict[int, list[Any]], *, name: str = "train2017", folder: str = "", **changes: Any
    ) -> Path:
        for part in ("annotations", folder or name):
            (tmp_path / part).mkdir(exist_ok=True, parents=True)
        images, annotations = [], []
        for number, objects in pictures.items():
            file = f"{number:012d}.jpg"
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / (folder or name) / file, format="PNG")
            images.append({"id": number, "file_name": file, "height": 30, "width": 40})
            for category, *box in objects:
                one = {"id": 100 + len(annotations), "image_id": number, "category_id": category}
                crowd = int(len(box) > 4)
                annotations.append({**one, "bbox": box[:4], "iscrowd": crowd})
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        path = tmp_path / "annotations" / f"instances_{name}.json"
        path.write_text(json.dumps({**content, **changes}))
        return tmp_path

    return write


def test_the_genuine_files(data_folder: Path) -> None:
    root = data_folder / "coco"
    train, val = COCODataset(root, "train2017_mini"), COCODataset(root, "val2017_mini")
    data: Dataset = val
    assert [len(train), len(data)] == [258, 128]
    for one, objects, crowds in ((train, 2148, 23), (val, 987, 10)):
        targets = [one.target(index) for index in range(len(one))]
        assert sum(len(target.labels) for target in targets) == objects
        assert sum(int(target.difficult.sum()) for target in targets) == crowds
        assert one.class_names[:3] == ("person", "bicycle", "car")
        assert len(one.class_names) == 80
    assert shared_classes(VOC.split(), train.class_names).keys() == set(VOC.split())
    sample = val[0]
    assert (sample.id, sample.size) == ("139", (426, 640))
    assert (sample.target.boxes[:, 2:] <= torch.tensor([640, 426])).all()


def test_boxes_are_half_open_and_cut_to_the_picture(write_coco: Write) -> None:
    objects = [(3, 1, 2, 10, 20), (7, -5, -0.5, 10, 40), (7, 0, 0, 40, 30, "crowd")]
    data = COCODataset(write_coco({5: objects, 9: []}), "train2017")
    target = data[0].target
    assert target.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 5, 30], [0, 0, 40, 30]]
    assert target.boxes.dtype == torch.float32
    assert data.class_names == ("cat", "dog")  # in the order of their ids
    assert target.labels.tolist() == [1, 2, 2]
    assert target.difficult.tolist() == [False, False, True]
    assert data.ids == ["5", "9"]
    assert data.sizes == [(30, 40), (30, 40)]
    assert data.target(1).boxes.shape == (0, 4)
    assert [note.partition(":")[0] for note in data.notes] == [
        "Boxes that leave their picture were cut to it",
        "Regions of many objects (iscrowd) count as difficult",
    ]
    assert "annotation 101 (dog) of 000000000005.jpg at -5 -0.5 10 40" in data.notes[0]


def test_sets_are_joined_and_pictures_of_both_used_once(write_coco: Write) -> None:
    root = write_coco({5: [(3, 1, 2, 10, 20)]})
    write_coco({6: [], 5: [(7, 1, 2, 10, 20)]}, name="val2017")
    data = COCODataset(root, "train2017+val2017")
    assert data.ids == ["5", "6"]
    assert data.target(0).labels.tolist() == [1]
    assert "used once: 1 (5 in" in data.notes[0]


@pytest.mark.parametrize("folder", ["val2014", "images/val2014", "images", "minival2014"])
def test_where_pictures_may_lie(write_coco: Write, folder: str) -> None:
    root = write_coco({5: []}, name="minival2014", folder=folder)
    assert COCODataset(root, "minival2014").paths == [str(root / folder / "000000000005.jpg")]


def test_classes_may_be_listed(write_coco: Write) -> None:
    root = write_coco({5: [(3, 1, 2, 10, 20), (7, 1, 2, 10, 20)]})
    data = COCODataset(root, "train2017", classes=["bird", "dog"], unknown_class="skip")
    assert data.target(0).labels.tolist() == [2]
    assert "not listed were skipped: 1 (annotation 100 (cat)" in data.notes[0]
    with pytest.raises(DataError, match="not among the 2 known ones: 'cat' \\(1 objects\\)"):
        COCODataset(root, "train2017", classes=["bird", "dog"])


@pytest.mark.parametrize(
    "box", [(5, 5, 0, 9), (5, 5, -3, 9), (50, 5, 9, 9), (5, 5, float("nan"), 9)]
)
def test_boxes_without_area(write_coco: Write, box: tuple[float, ...]) -> None:
    root = write_coco({5: [(3, *box), (3, 1, 2, 10, 20)]})
    data = COCODataset(root, "train2017")
    assert len(data.target(0).boxes) == 1
    assert data.notes[0].startswith("Boxes without area were dropped: 1 (annotation 100")
    with pytest.raises(DataError, match="1 boxes have no area"):
        COCODataset(root, "train2017", bad_box="stop")


# ------------------------------------------------------------------------------------------ faults


def test_a_set_that_is_not_there_names_those_that_are(write_coco: Write, tmp_path: Path) -> None:
    root = write_coco({5: []})
    with pytest.raises(DataError, match=r"instances_val2017.json: there is no such file. Sets in "):
        COCODataset(root, "train2017+val2017")
    with pytest.raises(DataError, match=r"expected are annotations/instances_NAME.json"):
        COCODataset(tmp_path / "elsewhere", "val2017")


def test_missing_pictures_are_counted(write_coco: Write) -> None:
    root = write_coco({5: [], 6: []})
    (root / "train2017" / "000000000006.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 pictures of .* are missing: 000000000006.jpg"):
        COCODataset(root, "train2017")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{**OBJECT, "image_id": 77}]}, "KeyError: 77"),
        ({"annotations": [{**OBJECT, "category_id": 4}]}, "KeyError: 4"),
        ({"annotations": [{**OBJECT, "bbox": [1, 2]}]}, "unpack"),
        ({"annotations": [{**OBJECT, "bbox": None}]}, "NoneType"),
        ({"categories": None}, "not annotations of objects in COCO's format"),
        ({"images": []}, "0 pictures"),
        ({"images": [{"id": 5, "file_name": "../x.jpg", "height": 3, "width": 4}]}, "outside of"),
    ],
)
def test_files_that_make_no_sense(write_coco: Write, changes: Any, message: str) -> None:
    root = write_coco({5: []}, **{"annotations": [], **changes})
    with pytest.raises(DataError, match=message):
        COCODataset(root, "train2017")


@pytest.mark.parametrize(("text", "message"), [("[]", "a list, where"), ("{", "read as JSON")])
def test_files_that_are_something_else(write_coco: Write, text: str, message: str) -> None:
    root = write_coco({5: []})
    (root / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match=message):
        COCODataset(root, "train2017")
