"""COCO's files: genuine ones where they are, and what is wrong with others."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from rfcn.datasets.coco import COCODataset
from rfcn.datasets.findings import BROKEN, Findings
from rfcn.datasets.sample import Dataset
from rfcn.errors import DataError
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.models.transfer import shared_classes
from rfcn.structures import Detections

Write = Callable[..., Path]
VOC = "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
VOC += "person pottedplant sheep sofa train tvmonitor"


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


def test_the_truth_of_the_genuine_files_is_pycocotools(data_folder: Path) -> None:
    root = data_folder / "coco"
    data = COCODataset(root, "val2017_mini")
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(root / "annotations" / "instances_val2017_mini.json")
    assert list(data.category_ids) == theirs.getCatIds()
    assert sorted(data.original_ids) == sorted(theirs.getImgIds())
    for index, number in enumerate(data.original_ids):
        truth = data.annotations(index)
        records = theirs.loadAnns(theirs.getAnnIds(imgIds=[number]))
        assert truth.ids == [one["id"] for one in records]
        assert truth.boxes.tolist() == [one["bbox"] for one in records]
        assert truth.areas.tolist() == [one["area"] for one in records]
        assert truth.crowd.tolist() == [bool(one["iscrowd"]) for one in records]
        named = [data.category_ids[label - 1] for label in truth.labels]
        assert named == [one["category_id"] for one in records]


def test_boxes_are_half_open_and_cut_to_the_picture(write_coco: Write) -> None:  # K12
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


def test_what_the_file_says_is_kept_for_the_metric(write_coco: Write) -> None:  # K7 K11 K12
    objects = [(3, -5, 2, 10.25, 20), (7, 1, 1, 0, 9), (7, 4, 4, float("nan"), 9),
               (7, 0, 0, 40, 30, "crowd")]  # fmt: skip
    root = write_coco({9: [], 5: objects})
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for number, one in enumerate(content["annotations"]):
        one.update(area=11.5 + number, id=number)
    file.write_text(json.dumps(content))
    data = COCODataset(root, "train2017")
    truth = data.annotations(1)
    assert truth.boxes.tolist() == [[-5, 2, 10.25, 20], [1, 1, 0, 9], [0, 0, 40, 30]]
    assert truth.boxes.dtype == np.float64
    assert truth.labels.tolist() == [1, 2, 2]
    assert truth.areas.tolist() == [11.5, 12.5, 14.5]
    assert truth.crowd.tolist() == [False, False, True]
    assert truth.ids == [4, 1, 3]  # none is 0, for which scorers take "matched to nothing"
    assert data.area(1).tolist() == [11.5, 14.5]  # of the boxes that target(1) has
    assert data.target(1).boxes.tolist() == [[0, 2, 5.25, 22], [0, 0, 40, 30]]
    assert [len(one) for one in data.annotations(0)] == [0] * 5
    assert data.area(0).shape == (0,)


def test_ids_go_back_as_they_came(write_coco: Write) -> None:  # K3 K16
    images = [{"id": "b 1", "file_name": "000000000005.jpg"}]
    images += [{"id": 9, "file_name": "000000000009.jpg"}]
    categories = [{"id": id_, "name": name} for id_, name in [(90, "dog"), (0, "cat"), (7, "cow")]]
    data = COCODataset(
        write_coco({5: [], 9: []}, images=images, annotations=[], categories=categories),
        "train2017",
    )
    assert data.class_names == ("cat", "cow", "dog")
    assert data.category_ids == (0, 7, 90)
    assert data.ids == ["b 1", "9"]
    assert data.original_ids == ["b 1", 9]


def test_sets_are_joined_and_pictures_of_both_used_once(write_coco: Write) -> None:
    root = write_coco({5: [(3, 1, 2, 10, 20)]}, name="val2014")
    write_coco({6: [], 5: [(7, 1, 2, 10, 20)]}, name="minival2014", folder="val2014")
    data = COCODataset(root, "val2014+minival2014")
    assert data.ids == ["5", "6"]
    assert data.target(0).labels.tolist() == [1]
    assert "used once: 1 (5 in" in data.notes[0]


def test_sets_that_number_their_pictures_alike_keep_all(write_coco: Write) -> None:
    root = write_coco({5: []})
    write_coco({5: []}, name="val2017")
    data = COCODataset(root, "train2017+val2017")
    assert data.ids == ["train2017/5", "val2017/5"]
    assert data.original_ids == [5, 5]


def test_parts_of_a_set(write_coco: Write) -> None:
    root = write_coco({number: [] for number in range(30)})
    whole = COCODataset(root, "train2017").ids
    first, second = COCODataset(root, "train2017[:80%]"), COCODataset(root, "train2017[80%:]")
    assert sorted(first.ids + second.ids) == sorted(whole)
    assert len(COCODataset(root, "train2017[:5]")) == 5
    assert COCODataset(root, "train2017[:80%]+train2017[80%:]").ids == first.ids + second.ids
    assert len(COCODataset(root, "train2017+train2017[:5]")) == 30


# ----------------------------------------------------------------------------------------- classes


def test_classes_may_be_listed(write_coco: Write, tmp_path: Path) -> None:
    root = write_coco({5: [(3, 1, 2, 10, 20), (7, 1, 2, 10, 20)]})
    data = COCODataset(root, "train2017", classes=["bird", "dog"], unknown_class="skip")
    assert data.target(0).labels.tolist() == [2]
    assert "ids of their own: 1 ('bird' as 8)" in data.notes[0]
    assert "not listed were skipped: 1 (annotation 100 (cat)" in data.notes[1]
    assert data.category_ids == (8, 7)
    with pytest.raises(DataError, match="not among the 1 known ones: 'cat' \\(1 objects\\)"):
        COCODataset(root, "train2017", classes=["dog"])
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    named = COCODataset(root, "train2017", classes=str(tmp_path / "names.txt"))
    assert named.category_ids == (7, 3)


def test_classes_of_two_files_are_matched_by_name(write_coco: Write) -> None:  # K5
    root = write_coco({5: [(3, 1, 2, 10, 20)]})
    other = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    write_coco({6: [(2, 1, 2, 10, 20)]}, name="val2017", categories=other)
    train = COCODataset(root, "train2017")
    val = COCODataset(root, "val2017", classes=train.class_names)
    assert train.target(0).labels.tolist() == val.target(0).labels.tolist() == [1]
    assert val.category_ids == (2, 1)
    both = COCODataset(root, "train2017+val2017")
    assert both.class_names == ("cat", "dog")
    assert both.target(1).labels.tolist() == [1]
    assert both.category_ids == (3, 7)


def test_a_class_that_a_file_lacks_is_named(write_coco: Write) -> None:  # K5
    root = write_coco({5: []})
    message = r"no categories of the names 'dogs', nearest 'dog'; there are cat, dog\. Mend"
    with pytest.raises(DataError, match=message):
        COCODataset(root, "train2017", classes=["cat", "dogs"])


def test_an_id_that_means_two_classes_is_given_once(write_coco: Write) -> None:  # K5
    root = write_coco({5: []})
    other = [{"id": 3, "name": "cow"}, {"id": 7, "name": "dog"}]
    write_coco({6: []}, name="val2017", categories=other)
    data = COCODataset(root, "train2017+val2017")
    assert dict(zip(data.class_names, data.category_ids, strict=True)) == {
        "cat": 3, "dog": 7, "cow": 8
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(  # K9
    "box", [(5, 5, 0, 9), (5, 5, -3, 9), (50, 5, 9, 9), (5, 5, float("nan"), 9)]
)
def test_boxes_without_area(write_coco: Write, box: tuple[float, ...]) -> None:
    root = write_coco({5: [(3, *box), (3, 1, 2, 10, 20)]})
    data = COCODataset(root, "train2017")
    assert len(data.target(0).boxes) == 1
    assert any(note.startswith("Boxes without area were dropped") for note in data.notes)
    with pytest.raises(DataError, match="1 boxes have no area: annotation 100"):
        COCODataset(root, "train2017", bad_box="stop")


def test_corners_and_fractions_are_suspected(write_coco: Write) -> None:  # K10
    corners = [(3, 20 + i, 15 + i, 38, 28) for i in range(4)]
    (note,) = (n for n in COCODataset(write_coco({5: corners}), "train2017").notes if "look" in n)
    assert "look like corners (x1, y1, x2, y2), COCO's are x, y, width, height: 1 (4 of 4" in note
    fractions = [(3, 0.1, 0.2, 0.5, 0.8), (7, 0, 0, 1, 1)]
    (note,) = COCODataset(write_coco({5: fractions}), "train2017").notes
    assert "look like fractions of their picture, COCO's are in pixels" in note


def test_names_of_pictures_that_lead_outside(write_coco: Write) -> None:  # K13
    root = write_coco({5: []})
    size = {"height": 30, "width": 40}
    images = [{"id": 5, "file_name": "000000000005.jpg", **size}]
    images += [{"id": 6, "file_name": "../x.jpg", **size}]
    root = write_coco({5: []}, images=images)
    with pytest.raises(DataError, match=r"1 pictures cannot .*\.\./x\.jpg lies outside of"):
        COCODataset(root, "train2017")
    findings = Findings(tolerant=True)
    assert COCODataset(root, "train2017", findings=findings).ids == ["5"]
    assert [(one.kind, one.object) for one in findings.found] == [("outside", 6)]


def test_the_size_of_the_picture_counts(write_coco: Write) -> None:  # K14
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "height": height, "width": width}
              for number, height, width in [(5, 30, 40), (6, 60, 80), (7, 40, 30)]]  # fmt: skip
    data = COCODataset(write_coco({5: [], 6: [], 7: []}, images=images), "train2017")
    assert data.sizes == [(30, 40)] * 3
    assert "the real one is used: 1 (" in data.notes[0]
    assert "says 80 x 60 of 000000000006.jpg, which is 40 x 30" in data.notes[0]
    assert "turned by 90 degrees" in data.notes[1]


def test_no_annotation_at_all(write_coco: Write) -> None:  # K15
    data = COCODataset(write_coco({5: [], 6: []}), "train2017")
    assert [len(data.target(index).labels) for index in range(2)] == [0, 0]
    assert data.notes == []
    truths = {name: data.target(index) for index, name in enumerate(data.ids)}
    evaluator = VOCEvaluator(truths, data.class_names)
    found = Detections(torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([0.5]), torch.tensor([2]))
    evaluator.update(["5", "6"], [found, found])
    assert evaluator.compute().mean_ap(0.5) is None


def test_the_same_box_twice(write_coco: Write) -> None:  # K18
    root = write_coco({5: [(3, 1, 2, 10, 20), (7, 1, 2, 10, 20), (3, 1, 2, 10, 20)]})
    data = COCODataset(root, "train2017")
    assert len(data.target(0).labels) == 3
    assert "twice in one picture; both were kept: 1 (cat at 1 2 10 20 in" in data.notes[0]


def test_missing_pictures_are_counted(write_coco: Write) -> None:
    root = write_coco({5: [], 6: []})
    (root / "train2017" / "000000000006.jpg").unlink()
    with pytest.raises(DataError, match=r"1 pictures are missing: 000000000006.jpg of .*looked"):
        COCODataset(root, "train2017")


def test_all_that_is_broken_is_found(write_coco: Write) -> None:
    """K1 to K18 in one tolerant reading, each with its file and its object."""
    root = write_coco({number: [(3, 1, 2, 10, 20)] for number in (5, 6, 7, 8)})
    pictures = root / "train2017"
    (pictures / "000000000006.jpg").unlink()
    (pictures / "000000000007.jpg").write_bytes(b"no picture")
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"] += [
        {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2]},
        {"id": 2, "image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12},
        {"id": 3, "image_id": 5, "category_id": 7, "bbox": [1, 2, 0, 4], "area": 0},
        {"id": 4, "image_id": 5, "category_id": 7, "bbox": [1, 2, 9, 9], "area": 81},
    ]
    file.write_text(json.dumps(content))
    findings = Findings(tolerant=True)
    data = COCODataset(root, "train2017", classes=["cat", "cow"], findings=findings)
    assert data.ids == ["5", "8"]
    assert data.target(0).labels.tolist() == [1]
    found = {(one.kind, Path(one.file or "").name, one.object) for one in findings.found}
    assert found == {
        ("annotation", file.name, 1),
        ("orphan", file.name, 2),
        ("no picture", file.name, 6),
        (BROKEN, "000000000007.jpg", 7),
        ("no category", "", None),
        ("unknown", file.name, 3),
        ("unknown", file.name, 4),
    }
    with pytest.raises(DataError, match="1 annotations cannot be read: annotation 1, bbox is"):
        COCODataset(root, "train2017")
