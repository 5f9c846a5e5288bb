"""Where the files of YOLO sets are found, and what their descriptions say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.datasets.yolo_layout import labels_of, read_folder
from rfcn.errors import DataError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    "folders", [("images/{}", "labels/{}"), ("{}/images", "{}/labels")], ids=["split", "roboflow"]
)
def test_two_layouts(write_yolo: Write, folders: tuple[str, str]) -> None:
    root = write_yolo({"b": "", "sub/a": ""}, folders=folders)
    pictures = read_folder(root).pictures("train")
    assert [one.name for one in pictures] == ["b", "sub/a"]
    assert all(one.labels.is_file() for one in pictures)


@pytest.mark.parametrize(
    ("path", "train"),
    [
        ("", "images/train"), (".", "./images/train"), ("/content/data", "images/train"),
        ("", "../images/train"), ("images", "train"), ("", "[images/train]"),
    ],
)  # fmt: skip
def test_places_that_the_description_names(write_yolo: Write, path: str, train: str) -> None:
    names = f"path: {path}\ntrain: {train}\nnames: [cat]\n"
    root = write_yolo({"a": ""}, names=names)
    assert [one.name for one in read_folder(root).pictures("train")] == ["a"]


def test_a_list_of_pictures(write_yolo: Write) -> None:
    root = write_yolo({"a": "", "b": "", "c": ""}, "all")
    (root / "few.txt").write_text("./images/all/c.jpg\n\nimages/all/a.jpg\n")
    pictures = read_folder(root).pictures("few")
    assert [one.name for one in pictures] == ["images/all/c", "images/all/a"]
    assert pictures[0].labels == root / "labels/all/c.txt"


def test_the_last_folder_of_pictures_has_the_labels_beside_it() -> None:
    assert labels_of(Path("images/pets/images/a.v2.jpg")) == Path("images/pets/labels/a.v2.txt")
    assert labels_of(Path("pets/a.jpg")) == Path("pets/a.txt")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("names: {0: cat, 1: dog}", ("cat", "dog")),
        ("names:\n  1: dog\n  0: cat\nnc: 2", ("cat", "dog")),
        ("names: [1, ' b ']", ("1", "b")),
        ("path: .", None),
    ],
)
def test_names(write_yolo: Write, text: str, names: tuple[str, ...] | None) -> None:
    assert read_folder(write_yolo({"a": ""}, names=text)).class_names() == names


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    + ["names: *a11"]
)
"""A few hundred characters that are 9 to the 12th when they are written out."""


def test_names_of_a_text_file(write_yolo: Write) -> None:
    root = write_yolo({"a": ""}, names=None)
    assert read_folder(root).class_names() is None
    (root / "classes.txt").write_text("cat\ndog\n\n")
    assert read_folder(root).class_names() == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat, no]", "False is no name of a class. Write text, in quotes"),
        ("names: [[a, b]]", "a list is no name of a class"),
        (BOMB, "a list is no name of a class"),
        ("names: [cat, cat]", "the class 'cat' comes twice"),
        ("names: {0: cat, 2: dog}", "has 2 classes but none of number 1"),
        ("names: cat", "must be a list of classes"),
        ("names: []", "must be a list of classes"),
        ("names: [cat\ntrain: x", r"data\.yaml:2: not valid YAML"),
        ("- cat", "expected `names`, `train` and `val`"),
        ("names: [!!python/object:os.system x]", "not valid YAML"),
    ],
)
def test_descriptions_that_make_no_sense(write_yolo: Write, text: str, message: str) -> None:
    root = write_yolo({"a": ""}, names=text)
    with pytest.raises(DataError, match=message):
        read_folder(root).class_names()


def test_a_set_that_is_not_there_names_those_that_are(write_yolo: Write, tmp_path: Path) -> None:
    root = write_yolo({"a": ""})
    with pytest.raises(DataError, match=r"images/val: .*Sets in .*: train\. .*NAME\[:80%\]"):
        read_folder(root).pictures("val")
    with pytest.raises(DataError, match="is not the name of a set"):
        read_folder(root).pictures("../train")
    with pytest.raises(DataError, match="there is no such folder"):
        read_folder(tmp_path / "elsewhere")
    (root / "images" / "empty").mkdir()
    with pytest.raises(DataError, match="the set 'empty' has 0 pictures"):
        read_folder(root).pictures("empty")


def test_nothing_outside_is_read(write_yolo: Write, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}.jpg"
    outside.write_bytes(b"")
    root = write_yolo({"a": ""})
    (root / "few.txt").write_text(f"{outside}\n")
    with pytest.raises(DataError, match="lies outside of"):
        read_folder(root).pictures("few")
    (root / "images/train/b.jpg").symlink_to(outside)
    with pytest.raises(DataError, match="lies outside of"):
        read_folder(root).pictures("train")
    (root / "data.yaml").write_text(f"names: [cat]\nval: {tmp_path.parent}\ntest: 7\n")
    with pytest.raises(DataError, match="is not to be found below"):
        read_folder(root).pictures("val")
    with pytest.raises(DataError, match="must be a path, or a list of them"):
        read_folder(root).pictures("test")
