"""VOC's files: what is missing, damaged, of another size, or leads outside."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.findings import BROKEN, Findings
from rfcn.datasets.rules import FileRules
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError

Write = Callable[..., Path]


def _sizes(width: int, height: int, objects: str = "") -> str:
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{objects}</annotation>"


# V5
def test_v5_missing_annotations_are_counted_and_named(write_voc: Write) -> None:
    names = [f"n{number}" for number in range(7)]
    root = write_voc({"a": []}, sets={"train": "\n".join(["a", *names])})
    with pytest.raises(DataError) as fault:
        VOCDataset(root, "train")
    message = str(fault.value)
    assert "7 of 8 annotations are missing" in message
    assert "n4.xml, and 2 more" in message
    assert "n5.xml" not in message
    assert "data.missing_annotation: skip" in message


# V5
def test_v5_missing_annotations_can_be_skipped(write_voc: Write) -> None:
    rules = FileRules(missing_annotation="skip")
    root = write_voc({"a": [("cat", 1, 1, 9, 9)]}, sets={"train": "a\nb\nc", "none": "b\nc"})
    data = VOCDataset(root, "train", files=rules)
    assert data.ids == ["a"]
    (note,) = data.notes
    assert note.startswith("Listed pictures without annotation were left out: 2 (")
    with pytest.raises(DataError, match="2 of 2 annotations are missing"):
        VOCDataset(root, "none", files=rules)


# V17
def test_v17_sizes_are_compared(write_voc: Write) -> None:
    box = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    box += "<ymax>9</ymax></bndbox></object>"
    root = write_voc({"a": _sizes(40, 30, box), "b": _sizes(30, 40), "c": _sizes(41, 30)})
    data = VOCDataset(root, "train")
    assert data.sizes == [(30, 40)] * 3
    size, transposed = data.notes
    assert "c.xml says 41 x 30, the picture is 40 x 30" in size
    assert "turned by 90 degrees" in transposed
    assert "b.xml" in transposed
    with pytest.raises(DataError, match=r"1 annotations state another size.*c\.xml says 41 x 30"):
        VOCDataset(root, "train", files=FileRules(size_mismatch="stop"))


# V17
def test_v17_a_transposed_size_names_the_orientation(write_voc: Write) -> None:
    root = write_voc({"a": _sizes(40, 30)})
    exif = Image.Exif()
    exif[0x0112] = 8
    path = root / "JPEGImages" / "a.jpg"
    Image.new("RGB", (40, 30)).save(path, format="PNG", exif=exif)
    (note,) = VOCDataset(root, "train", classes=("cat",)).notes
    assert "a.xml says 40 x 30, the picture is 30 x 40 (EXIF orientation 8)" in note
    stop = FileRules(size_mismatch="stop")
    with pytest.raises(DataError, match=r"another size than their picture.*EXIF"):
        VOCDataset(root, "train", classes=("cat",), files=stop)
    as_stored = VOCDataset(
        root, "train", classes=("cat",), files=FileRules(exif="ignore", size_mismatch="stop")
    )
    assert (as_stored.notes, as_stored.sizes) == ([], [(30, 40)])
    assert as_stored[0].image.shape == (30, 40, 3)


# V17
def test_v17_upright_size_is_the_one_that_counts(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 30, 40)]})
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((30, 40, 3), np.uint8)
    Image.fromarray(stored).save(root / "JPEGImages" / "a.jpg", format="PNG", exif=exif)
    data = VOCDataset(root, "train", bad_box="stop")
    assert data.sizes == [(40, 30)]
    assert data[0].image.shape == (40, 30, 3)
    assert data.target(0).boxes.tolist() == [[0, 0, 30, 40]]
    assert data.notes == []


# V19
def test_v19_missing_pictures_name_what_was_tried(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)], "b": []})
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 pictures are missing: .*/b\.jpg; \.jpeg, \.png"):
        VOCDataset(root, "train")


def _spoilt(write_voc: Write, pictures: int, *, missing: int, torn: int) -> Path:
    names = [f"p{number}" for number in range(pictures)]
    root = write_voc({name: [("cat", 1, 1, 9, 9)] for name in names})
    for number in range(missing):
        (root / "JPEGImages" / f"p{number}.jpg").unlink()
    for number in range(missing, missing + torn):
        (root / "JPEGImages" / f"p{number}.jpg").write_text("torn")
    return root


# I1
def test_i1_bad_pictures_stay_to_be_skipped_in_their_turn(write_voc: Write) -> None:
    root = _spoilt(write_voc, 5, missing=1, torn=2)
    data = VOCDataset(root, "train", files=FileRules(on_bad_image="skip"))
    assert len(data) == 5
    missing, bad = data.notes
    assert missing.startswith("Missing pictures, which will be skipped: 1 (")
    assert bad.startswith("Pictures that cannot be read, which will be skipped: 2 (")
    assert data.sizes == [(9, 9)] * 3 + [(30, 40)] * 2  # as far as the boxes reach
    assert data.target(0).boxes.tolist() == [[0, 0, 9, 9]]
    for index in range(3):
        with pytest.raises(DataError, match=rf"p{index}\.jpg"):
            data[index]


# I1
def test_i1_too_many_bad_pictures_are_a_fault_of_the_set(write_voc: Write) -> None:
    root = _spoilt(write_voc, 5, missing=2, torn=2)
    with pytest.raises(DataError, match=r"4 of 5 pictures are missing or damaged.*passes over 3"):
        VOCDataset(root, "train", files=FileRules(on_bad_image="skip"))
    with pytest.raises(DataError, match="not a picture in a known format"):
        VOCDataset(root, "train")


# I6
def test_i6_animations_are_noted(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 8, 8)], "b": []}, size=(8, 16))
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    path = root / "JPEGImages" / "b.jpg"
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    data = VOCDataset(root, "train")
    assert data.notes == [
        f"Of animations and files of several pages the first picture is used: 1 ({path})."
    ]
    assert data[1].image[0, 0].tolist() == [255, 0, 0]


# V20
def test_v20_filename_outside_stops_the_reading(write_voc: Write) -> None:
    evil = "<annotation><filename>../../../etc/passwd</filename></annotation>"
    with pytest.raises(DataError, match="outside of the data folder"):
        VOCDataset(write_voc({"a": evil}), "train")


# I12
def test_i12_a_picture_that_changed_or_went_is_named(write_voc: Write) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)]})
    data = VOCDataset(root, "train")
    Image.new("RGB", (50, 30)).save(root / "JPEGImages" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: the picture changed its size.*Restore the file"):
        data[0]
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.jpg: there is no such picture"):
        data[0]


def test_a_tolerant_reading_finds_everything_that_is_wrong(write_voc: Write) -> None:
    evil = "<annotation><filename>../../../etc/passwd</filename></annotation>"
    nameless = "<object><bndbox/></object>"
    root = write_voc(
        {
            "good": [("cat", 1, 1, 9, 9), ("cat", 5, 5, 2, 2), ("zebra", 1, 1, 9, 9)],
            "objects": f"<annotation>{nameless * 2}</annotation>",
            "torn": "<annotation>",
            "evil": evil,
            "gone": [("cat", 1, 1, 9, 9)],
            "text": [("cat", 1, 1, 9, 9)],
        },
        sets={"train": "good\n../../x\nobjects\ntorn\nabsent\nevil\ngone\ntext"},
    )
    (root / "JPEGImages" / "gone.jpg").unlink()
    for name in ("text", "torn"):
        (root / "JPEGImages" / f"{name}.jpg").write_text("no picture")
    findings = Findings(tolerant=True)
    data = VOCDataset(root, "train+missing", classes=("cat",), findings=findings)
    assert data.ids == ["good", "objects"]
    assert data.target(0).boxes.tolist() == [[0, 0, 9, 9]]
    kinds = [
        (one.kind, Path(one.file or "").name.removesuffix(".jpg"), one.object)
        for one in findings.found
    ]
    assert kinds == [
        (BROKEN, "set", None),
        (BROKEN, "train.txt", None),
        ("no annotation", "absent.xml", None),
        (BROKEN, "objects.xml", 1),
        (BROKEN, "objects.xml", 2),
        (BROKEN, "torn.xml", None),
        (BROKEN, "torn", None),
        (BROKEN, "evil.xml", None),
        ("no picture", "gone.xml", None),
        (BROKEN, "text", None),
        ("bad", "good.xml", 2),
        ("unknown", "good.xml", 3),
    ]


def test_a_tolerant_reading_of_nothing_at_all(tmp_path: Path) -> None:
    findings = Findings(tolerant=True)
    assert len(VOCDataset(tmp_path / "absent", "train", findings=findings)) == 0
    assert [one.kind for one in findings.found] == [BROKEN, BROKEN]
