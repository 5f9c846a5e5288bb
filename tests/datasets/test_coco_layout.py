"""Where the files of COCO sets are found, and where they may not lie."""

from pathlib import Path

import pytest

from rfcn.datasets.coco_layout import PictureFolders, annotation_file
from rfcn.errors import DataError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


@pytest.mark.parametrize(
    "name", ["annotations/instances_pets.json", "annotations/pets.json",
             "pets/_annotations.coco.json"],
)  # fmt: skip
def test_three_places_of_annotations(tmp_path: Path, name: str) -> None:
    file = touch(tmp_path / name)
    assert annotation_file(tmp_path, "pets") == file
    with pytest.raises(DataError, match=r"instances_cats\.json: .*Sets in .*: pets\. Where one"):
        annotation_file(tmp_path, "cats")


def test_a_set_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:  # K1
    touch(tmp_path / "annotations" / "instances_train2017.json")
    touch(tmp_path / "val" / "_annotations.coco.json")
    with pytest.raises(DataError, match=r"no such file. Sets in .*: train2017, val\.$"):
        annotation_file(tmp_path, "val2017")
    with pytest.raises(DataError, match=r"expected are annotations/instances_NAME.json"):
        annotation_file(tmp_path / "elsewhere", "val2017")
    for name in ("../train2017", "", "a\\b"):
        with pytest.raises(DataError, match="is not the name of a set"):
            annotation_file(tmp_path, name)


@pytest.mark.parametrize("folder", ["val2014", "images/val2014", "images", "minival2014", "."])
def test_where_pictures_may_lie(tmp_path: Path, folder: str) -> None:
    path = touch(tmp_path / folder / "a.jpg")
    assert PictureFolders(tmp_path, "minival2014").find("a.jpg") == path


@pytest.mark.parametrize("name", ["sub/a b.jpg", "sub\\a b.jpg", "sub/ü.jpg", "train/../sub/c.png"])
def test_any_name_within_the_folders_is_found(tmp_path: Path, name: str) -> None:  # K13
    (tmp_path / "train").mkdir()
    file = touch(tmp_path / name.replace("\\", "/"))
    found = PictureFolders(tmp_path, "train").find(name)
    assert found is not None
    assert found.resolve() == file.resolve()


def test_names_that_leave_the_folders_are_refused(tmp_path: Path) -> None:  # K13
    outside = touch(tmp_path / "secret.jpg")
    root = tmp_path / "root"
    (root / "train").mkdir(parents=True)
    (root / "train" / "link.jpg").symlink_to(outside)
    folders = PictureFolders(root, "train")
    for name in ("../secret.jpg", "../gone.jpg", str(outside), "/etc/passwd", "link.jpg"):
        with pytest.raises(DataError, match="lies outside of"):
            folders.find(name)
    with pytest.raises(DataError, match="is an address"):
        folders.find("http://images.cocodataset.org/val2017/000000000139.jpg")
    assert folders.find("gone.jpg") is None


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:  # K13
    elsewhere = touch(tmp_path / "disk" / "sub" / "a.jpg").parents[1]
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train").symlink_to(elsewhere)
    assert PictureFolders(tmp_path / "root", "train").find("sub/a.jpg") is not None
