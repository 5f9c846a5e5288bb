from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError

Write = Callable[..., Path]


def test_boxes_count_from_0_and_exclude_their_end(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 40, 30), ("dog", 5, 7, 5.5, 8)]})
    data = VOCDataset(root, "train")
    target = data[0].target
    assert target.boxes.dtype == torch.float32
    assert target.boxes.tolist() == [[0, 0, 40, 30], [4, 6, 5.5, 8]]
    assert target.labels.tolist() == [1, 2]
    assert data.class_names == ("cat", "dog")
    assert data.notes == []


def test_samples_carry_pixels_id_and_path(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)], "b": []})
    data = VOCDataset(root, "train")
    sample = data[1]
    assert (sample.id, sample.path) == ("b", root / "JPEGImages" / "b.jpg")
    with Image.open(sample.path) as picture:
        np.testing.assert_array_equal(sample.image, np.asarray(picture))
    assert data.ids == ["a", "b"]
    assert data.sizes == [(30, 40), (30, 40)]
    assert len(data) == 2


def test_targets_are_copies(write_voc: Write) -> None:
    data = VOCDataset(write_voc({"a": [("cat", 1, 1, 9, 9)]}), "train")
    data.target(0).boxes.zero_()
    assert data.target(0).boxes.tolist() == [[0, 0, 9, 9]]


def test_ids_of_several_folders_tell_them_apart(write_voc: Write, tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_voc({"000012": [("cat", 1, 1, 9, 9)]}, sets={"train": "000012"}, root=tmp_path / year)
    joined = VOCDataset(tmp_path, "voc_2007_train+voc_2012_train")
    assert joined.ids == ["VOC2007/000012", "VOC2012/000012"]
    assert VOCDataset(tmp_path, "voc_2007_train").ids == ["000012"]


def test_overlapping_sets_of_one_folder_are_a_union(write_voc: Write) -> None:
    root = write_voc({"a": [("x", 1, 1, 9, 9)], "b": []}, sets={"train": "a", "all": "b\na"})
    data = VOCDataset(root, "train+all")
    assert data.ids == ["a", "b"]


# V4
def test_v4_repeated_names_are_noted(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)]}, sets={"train": "a\na\na\n"})
    data = VOCDataset(root, "train")
    assert data.ids == ["a"]
    assert len(data.notes) == 1
    assert f"2 in {root / 'ImageSets/Main/train.txt'}" in data.notes[0]


# V12
def test_v12_fractions_reach_the_boxes(write_voc: Write) -> None:
    data = VOCDataset(write_voc({"a": [("cat", 1.5, 2.25, 10.75, 12)]}), "train")
    assert data.target(0).boxes.tolist() == [[0.5, 1.25, 10.75, 12]]


BAD_BOXES = {
    "v13 reversed": (20, 5, 10, 9),
    "v13 reversed in y": (5, 20, 9, 10),
    "v14 zero width": (10, 5, 10, 9),
    "v14 zero height": (10, 5, 12, 5),
    "v15 outside": (60, 5, 80, 9),
    "v15 above": (5, -20, 9, -3),
}


@pytest.mark.parametrize("corners", BAD_BOXES.values(), ids=BAD_BOXES)
# V13, V14
def test_v13_v14_boxes_without_area(corners: tuple[int, ...], write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9), ("cat", *corners)]})
    data = VOCDataset(root, "train")
    assert data.target(0).boxes.tolist() == [[0, 0, 9, 9]]
    (note,) = data.notes
    place = f"{root / 'Annotations/a.xml'}, object 2 (cat) at " + " ".join(map(str, corners))
    assert f"without area were dropped: 1 ({place})" in note
    with pytest.raises(DataError) as fault:
        VOCDataset(root, "train", bad_box="stop")
    assert "1 boxes have no area" in str(fault.value)
    assert place in str(fault.value)


# V13
def test_v13_reversed_corners_can_be_put_in_order(write_voc: Write) -> None:
    corners = [(20, 5, 10, 9), (5, 20, 9, 10), (8, 9, 2, 3), (10, 5, 10, 2), (1, 2, 3, 4)]
    root = write_voc({"a": [("cat", *one) for one in corners]})
    data = VOCDataset(root, "train", bad_box="swap")
    assert data.target(0).boxes.tolist() == [
        [9, 4, 20, 9], [4, 9, 9, 20], [1, 2, 8, 9], [0, 1, 3, 4]
    ]  # fmt: skip
    swapped, dropped = data.notes
    assert swapped.startswith("Reversed corners were put in order: 4 (")
    assert "object 3 (cat) at 8 9 2 3" in swapped
    assert dropped.startswith("Boxes without area were dropped: 1 (")


# V15
def test_v15_boxes_that_leave_the_picture_are_cut(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", -3, 5, 50, 9), ("cat", 1, 1, 40, 30)]})
    data = VOCDataset(root, "train", bad_box="stop")
    assert data.target(0).boxes.tolist() == [[0, 4, 40, 9], [0, 0, 40, 30]]
    note, warning = data.notes
    assert "cut to it: 1 (" in note
    assert warning.startswith("WARNING: 50 % of 2 boxes leave their picture. Check")


@pytest.mark.parametrize(("outside", "warns"), [(1, False), (2, True)])
# V15
def test_v15_more_than_one_percent_is_a_warning(
    outside: int, warns: bool, write_voc: Write
) -> None:
    boxes = [("cat", 1, 1, 41, 30)] * outside + [("cat", 1, 1, 40, 30)] * (100 - outside)
    notes = VOCDataset(write_voc({"a": boxes}), "train").notes
    assert any(note.startswith("WARNING") for note in notes) == warns


# V16
def test_v16_zero_based_sets_are_hinted_at(write_voc: Write) -> None:
    data = VOCDataset(write_voc({"a": [("cat", 0, 3, 9, 9), ("cat", 2, 2, 9, 9)]}), "train")
    assert data.target(0).boxes[0].tolist() == [0, 2, 9, 9]
    (note,) = data.notes
    assert note.startswith("Of 2 boxes, some begin at 0: the set looks 0-based")
    assert ": 1 (" in note


# V18
def test_v18_unknown_classes_stop_with_counts_and_the_nearest(write_voc: Write) -> None:
    box = (1, 1, 9, 9)
    objects = [("Cat", *box), ("Cat", *box), ("zebra", *box), ("dog ", *box)]
    root = write_voc({"a": [("cat", *box)], "b": objects})
    with pytest.raises(DataError) as fault:
        VOCDataset(root, "train", classes=("dog", "cat"))
    message = str(fault.value)
    assert "'Cat' (2 objects, nearest 'cat')" in message
    assert "'zebra' (1 objects)" in message
    assert "dog" not in message  # white space around a name does not belong to it
    assert str(root / "Annotations" / "b.xml") in message


# V18
def test_v18_unknown_classes_can_be_skipped(write_voc: Write) -> None:
    root = write_voc({"a": [("zebra", 1, 1, 9, 9), ("cat", 2, 2, 9, 9)], "b": []})
    data = VOCDataset(root, "train", classes=("dog", "cat"), unknown_class="skip")
    assert data.target(0).labels.tolist() == [2]
    assert "skipped: 1 ('zebra' in " in data.notes[0]


# V21
def test_v21_pictures_without_objects_are_legal(write_voc: Write) -> None:
    data = VOCDataset(write_voc({"a": [], "b": [("cat", 1, 1, 9, 9)], "c": []}), "train")
    for index in (0, 2):
        target = data[index].target
        assert target.boxes.shape == (0, 4)
        assert target.labels.shape == target.difficult.shape == (0,)
    assert data.target(1).boxes.shape == (1, 4)


# V21
def test_v21_no_object_anywhere_needs_named_classes(write_voc: Write) -> None:
    root = write_voc({"a": [], "b": []})
    with pytest.raises(DataError, match="None of the 2 pictures has an object"):
        VOCDataset(root, "train")
    data = VOCDataset(root, "train", classes=("cat",))
    assert data[1].target.boxes.shape == (0, 4)


# V22
def test_v22_difficult_objects_are_kept_and_marked(
    write_voc: Write, voc_object: Callable[..., str]
) -> None:
    objects = voc_object("cat", 1, 1, 9, 9, difficult=1) + voc_object(
        "cat", 2, 2, 9, 9, difficult=0
    )
    data = VOCDataset(write_voc({"a": f"<annotation>{objects}</annotation>"}), "train")
    assert data.target(0).difficult.tolist() == [True, False]


# V24
def test_v24_five_thousand_objects(write_voc: Write) -> None:
    objects = [("cat", 1 + n % 30, 1 + n % 20, 3 + n % 30, 4 + n % 20) for n in range(5000)]
    data = VOCDataset(write_voc({"a": objects}), "train")
    assert data.target(0).boxes.shape == (5000, 4)
    assert data.target(0).boxes[31].tolist() == [1, 11, 4, 15]


def test_classes_from_a_text_file(write_voc: Write, tmp_path: Path) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)]})
    names = tmp_path / "names.txt"
    names.write_text("\ufeffdog\r\n\n cat \n")
    data = VOCDataset(root, "train", classes=str(names))
    assert data.class_names == ("dog", "cat")
    assert data.target(0).labels.tolist() == [2]


def test_a_class_written_where_a_file_belongs(write_voc: Write) -> None:
    with pytest.raises(DataError, match=r"A single class is written \[car\]"):
        VOCDataset(write_voc({"a": []}), "train", classes="car")


@pytest.mark.parametrize("classes", [(), ("cat", "cat"), ("cat", "")])
def test_senseless_class_lists(classes: tuple[str, ...], write_voc: Write) -> None:
    with pytest.raises(DataError, match=r"data\.classes"):
        VOCDataset(write_voc({"a": [("cat", 1, 1, 9, 9)]}), "train", classes=classes)


def test_real_bccd(data_folder: Path) -> None:
    root = data_folder / "bccd" / "BCCD"
    trainval, test = VOCDataset(root, "trainval"), VOCDataset(root, "test")
    assert (len(trainval), len(test)) == (292, 72)
    assert trainval.class_names == test.class_names == ("Platelets", "RBC", "WBC")
    labels = torch.cat([d.target(i).labels for d in (trainval, test) for i in range(len(d))])
    assert torch.bincount(labels).tolist() == [0, 361, 4155 - 2, 372]
    (note,) = trainval.notes
    assert "dropped: 2 (" in note
    assert "BloodImage_00338.xml" in note
    assert "BloodImage_00343.xml" in note
    assert trainval[0].image.shape == (480, 640, 3)


def test_real_voc2007_test(data_folder: Path) -> None:
    data = VOCDataset(data_folder / "voc" / "VOCdevkit", "voc_2007_test", bad_box="stop")
    targets = [data.target(index) for index in range(len(data))]
    assert len(data) == 287
    assert sum(len(target.boxes) for target in targets) == 716
    assert sum(int(target.difficult.sum()) for target in targets) == 115
    assert len(data.class_names) == 20
    assert data.notes == []
    # 2007_000027: the one person of the file, in our convention, on an upright photo.
    assert targets[data.ids.index("2007_000027")].boxes.tolist() == [[173, 100, 349, 351]]


def test_real_voc_union(data_folder: Path) -> None:
    data = VOCDataset(data_folder / "voc" / "VOCdevkit", "voc_2007_trainval+voc_2012_trainval")
    years = [id_.split("/")[0] for id_ in data.ids]
    assert (years.count("VOC2007"), years.count("VOC2012")) == (469, 557)
    assert len(set(data.ids)) == len(data) == 1026
    for (height, width), index in zip(data.sizes, range(len(data)), strict=True):
        boxes = data.target(index).boxes
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
