"""Labels in YOLO's text files: read, refused, and read back as they were written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rfcn.datasets.findings import BROKEN, Findings
from rfcn.datasets.sample import Dataset
from rfcn.datasets.yolo import YOLODataset
from rfcn.datasets.yolo_layout import MAX_BYTES
from rfcn.errors import DataError

Write = Callable[..., Path]


def lines_of(data: YOLODataset, index: int) -> str:
    """The objects of a picture as lines of labels."""
    height, width = data.sizes[index]
    target = data.target(index)
    lines = []
    for (x1, y1, x2, y2), label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
        numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height,
                   (x2 - x1) / width, (y2 - y1) / height)  # fmt: skip
        lines.append(" ".join([str(label - 1), *(f"{one:.6f}" for one in numbers)]))
    return "\n".join(lines)


def test_boxes_become_corners_in_pixels(write_yolo: Write) -> None:
    root = write_yolo({"a": "1 0.5 0.5 0.25 0.2\n\n 0  0 0 1 1 \n", "b": None, "c": ""})
    data: Dataset = YOLODataset(root, "train")
    sample = data[0]
    assert sample.target.boxes.tolist() == [[15, 12, 25, 18], [0, 0, 20, 15]]
    assert sample.target.boxes.dtype == torch.float32
    assert sample.target.labels.tolist() == [2, 1]
    assert not sample.target.difficult.any()
    assert data.class_names == ("cat", "dog")
    assert data.ids == ["a", "b", "c"]
    assert data.sizes == [(30, 40)] * 3
    assert sample.size == (30, 40)
    assert [len(data[index].target.labels) for index in (1, 2)] == [0, 0]
    assert data.notes[0].startswith("Pictures without a file of labels count as pictures without")
    assert data.notes[1].startswith("Boxes that leave their picture were cut to it: 1 (")


def test_a_round_trip(write_yolo: Write) -> None:
    lines = "0 0.512345 0.400000 0.300000 0.123457\n1 0.250000 0.500000 0.500000 1.000000"
    first = YOLODataset(write_yolo({"a": lines}), "train")
    assert lines_of(first, 0) == lines
    again = YOLODataset(write_yolo({"b": lines_of(first, 0)}, "val"), "val")
    assert torch.equal(again.target(0).boxes, first.target(0).boxes)


def test_outlines_become_boxes(write_yolo: Write) -> None:
    data = YOLODataset(write_yolo({"a": "0 0.1 0.2 0.5 0.2 0.3 0.8"}), "train")
    assert data.target(0).boxes.tolist() == [[4, 6, 20, 24]]
    assert data.notes[0].startswith("Outlines became the boxes around them: 1 (")


def test_key_points_are_not_taken_for_an_outline(write_yolo: Write) -> None:
    names = "names: [cat]\nkpt_shape: [2, 2]\n"
    root = write_yolo({"a": "0 0.5 0.5 0.25 0.2 0.9 0.9 0.1 0.1"}, names=names)
    assert YOLODataset(root, "train").target(0).boxes.tolist() == [[15, 12, 25, 18]]


def test_classes_are_matched_by_name(write_yolo: Write, tmp_path: Path) -> None:
    root = write_yolo({"a": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2"})
    assert YOLODataset(root, "train", classes=["dog", "cat"]).target(0).labels.tolist() == [2, 1]
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    named = YOLODataset(root, "train", classes=str(tmp_path / "names.txt"))
    assert named.target(0).labels.tolist() == [2, 1]
    message = r"not among the 1 known ones: 'cat' \(1 objects\); first in .*labels/train/a\.txt"
    with pytest.raises(DataError, match=message):
        YOLODataset(root, "train", classes=["dog"])
    skipped = YOLODataset(root, "train", classes=["dog"], unknown_class="skip")
    assert skipped.target(0).labels.tolist() == [1]


def test_without_names_the_numbers_count_along_the_list(write_yolo: Write) -> None:
    root = write_yolo({"a": "1 0.5 0.5 0.2 0.2"}, names=None)
    data = YOLODataset(root, "train", classes=["cow", "bird"])
    assert (data.class_names, data.target(0).labels.tolist()) == (("cow", "bird"), [2])
    with pytest.raises(DataError, match=r"the classes have no names. Write classes\.txt"):
        YOLODataset(root, "train")


def test_sets_and_parts_of_them(write_yolo: Write) -> None:
    root = write_yolo({f"{number:03d}": "0 0.5 0.5 0.2 0.2" for number in range(30)})
    whole, first, second = (
        YOLODataset(root, f"train{cut}").ids for cut in ("", "[:80%]", "[80%:]")
    )
    assert not set(first) & set(second)
    assert sorted(first + second) == whole
    write_yolo({"000": ""}, "val")
    both = YOLODataset(root, "train[:2]+val+train[:1]")
    assert both.ids[-1] == "val/000"
    assert len(both) == 3
    assert "used once: 1 (" in both.notes[-1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.5 0.5 0.2 0.2", "the class is 'cat'. It must be a number"),
        ("-1 0.5 0.5 0.2 0.2", "the class is '-1'"),
        ("1.0 0.5 0.5 0.2 0.2", r"the class is '1\.0'"),
        ("2 0.5 0.5 0.2 0.2", "the class is 2, but the 2 classes are numbered 0 to 1"),
        ("0", "0 numbers behind the class"),
        ("0 0.5 0.5 0.2", "3 numbers behind the class"),
        ("0 0.5 0.5 0.2 0.2 0.9", "5 numbers .* A score behind the box makes it a detection"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "7 numbers behind the class"),
        ("0 0.5 0.5 0.2 x", "holds what is not a number"),
        ("0 0,5 0,5 0,2 0,2", "holds what is not a number"),
        ("0 0.5 0.5 nan 0.2", r"leaves 0\.\.1"),
        ("0 20 15 10 6", r"leaves 0\.\.1\. Coordinates are fractions .* divide pixels"),
        ("0 0.5 -0.5 0.2 0.2", r"leaves 0\.\.1"),
        ("0 0.1 0.1 0.2 0.2 1.3 0.3", r"leaves 0\.\.1"),
    ],
)
def test_bad_lines_are_named(write_yolo: Write, line: str, message: str) -> None:
    root = write_yolo({"a": f"0 0.5 0.5 0.2 0.2\n{line}\n1 0.5 0.5 0.2 0.2", "b": ""})
    with pytest.raises(DataError, match=rf"labels/train/a\.txt:2: {message}|a\.txt:2: .*{message}"):
        YOLODataset(root, "train")
    findings = Findings(tolerant=True)
    data = YOLODataset(root, "train", findings=findings)
    assert data.target(0).labels.tolist() == [1, 2]
    assert [(one.kind, one.object) for one in findings.found] == [(BROKEN, 2)]
    assert (findings.found[0].file or "").endswith("a.txt")


@pytest.mark.parametrize("line", ["0 0.5 0.5 0 0.2", "0 0.5 0.5 0.2 -0.2", "1 1 1 0 0"])
def test_boxes_without_area(write_yolo: Write, line: str) -> None:
    root = write_yolo({"a": f"{line}\n1 0.5 0.5 0.2 0.2"})
    data = YOLODataset(root, "train")
    assert data.target(0).labels.tolist() == [2]
    assert data.notes[0].startswith("Boxes without area were dropped: 1 (")
    with pytest.raises(DataError, match=r"1 boxes have no area: .*a\.txt:1"):
        YOLODataset(root, "train", bad_box="stop")


def test_a_line_twice_is_said(write_yolo: Write) -> None:
    data = YOLODataset(write_yolo({"a": "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2"}), "train")
    assert len(data.target(0).labels) == 2
    assert data.notes[0].startswith("The same line comes twice in one file; both were kept: 1 (")


def test_no_labels_at_all(write_yolo: Write) -> None:
    root = write_yolo({"a": None, "b": None})
    message = r"None of 2 pictures has a file of labels; that of .*a\.jpg would be .*labels/train/a"
    with pytest.raises(DataError, match=message):
        YOLODataset(root, "train")


def test_broken_pictures_and_files(write_yolo: Write) -> None:
    root = write_yolo({"a": "0 0.5 0.5 0.2 0.2", "b": "", "c": ""})
    (root / "images/train/b.jpg").write_bytes(b"no picture")
    (root / "labels/train/c.txt").write_bytes(b"\xff\xfe0")
    findings = Findings(tolerant=True)
    assert YOLODataset(root, "train", findings=findings).ids == ["a"]
    assert [(one.kind, Path(one.file or "").name) for one in findings.found] == [
        (BROKEN, "b.jpg"), (BROKEN, "c.jpg")
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"b\.jpg: not a picture"):
        YOLODataset(root, "train")
    (root / "images/train/b.jpg").unlink()
    with pytest.raises(DataError, match=r"c\.txt: not UTF-8 text"):
        YOLODataset(root, "train")
    (root / "labels/train/c.txt").write_text("0 \0")
    with pytest.raises(DataError, match=r"c\.txt: not text, it holds zeros"):
        YOLODataset(root, "train")
    with (root / "labels/train/c.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match=r"c\.txt: larger than 16 MB"):
        YOLODataset(root, "train")


def test_two_pictures_of_one_file_of_labels(write_yolo: Write) -> None:
    root = write_yolo({"a": "0 0.5 0.5 0.2 0.2"})
    picture = root / "images/train/a.jpg"
    picture.with_suffix(".png").write_bytes(picture.read_bytes())
    with pytest.raises(DataError, match="labels of 2 pictures that differ in their suffix only"):
        YOLODataset(root, "train")
