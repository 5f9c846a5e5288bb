from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rfcn.datasets.voc_layout import VOCFolder, read_sets
from rfcn.errors import DataError


def _names(root: Path, sets: str) -> list[str]:
    return [name for one in read_sets(root, sets) for name in one.names]


def test_years_and_plain_names(write_voc: Callable[..., Path], tmp_path: Path) -> None:
    for year, name in (("VOC2007", "a"), ("VOC2012", "b")):
        write_voc({name: []}, sets={"trainval": name}, root=tmp_path / year)
    write_voc({"c": []}, sets={"mine": "c"}, root=tmp_path)
    found = read_sets(tmp_path, "voc_2007_trainval+voc_2012_trainval + mine")
    assert [one.folder.path.name for one in found[:2]] == ["VOC2007", "VOC2012"]
    assert [one.names for one in found] == [["a"], ["b"], ["c"]]


def test_v1_missing_root_names_a_near_one_and_draws_the_layout(tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit").mkdir()
    with pytest.raises(DataError) as fault:
        read_sets(tmp_path / "VOCdevkti", "voc_2007_test")
    message = str(fault.value)
    assert "does not exist" in message
    assert f"Did you mean {tmp_path / 'VOCdevkit'}?" in message
    assert "ImageSets/Main" in message


def test_v1_missing_list_names_the_sets_there_are(
    write_voc: Callable[..., Path], tmp_path: Path
) -> None:
    write_voc({"a": []}, sets={"train": "a", "val": "a"}, root=tmp_path)
    write_voc({"a": []}, sets={"test": "a"}, root=tmp_path / "VOC2007")
    with pytest.raises(DataError) as fault:
        read_sets(tmp_path, "voc_2007_trainval")
    assert "VOC2007/ImageSets/Main/trainval.txt" in str(fault.value)
    assert ": train, val, voc_2007_test." in str(fault.value)


def test_v1_a_root_without_sets_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="holds images; expected is"):
        read_sets(tmp_path, "train")


@pytest.mark.parametrize("content", ["", "\n \r\n\t\n"])
def test_v2_empty_list(content: str, write_voc: Callable[..., Path]) -> None:
    root = write_voc({}, sets={"train": content})
    with pytest.raises(DataError, match="0 pictures"):
        read_sets(root, "train")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("000012", ["000012"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("  a  \n\n\tb\n\n", ["a", "b"]),
        ("a  1\nb -1\nc  0\n", ["a", "b", "c"]),
        ("my photo\nimg.v2.final\n", ["my photo", "img.v2.final"]),
        ("\ufeffa\n", ["a"]),
    ],
)
def test_v3_lines_as_they_come(
    content: str, names: list[str], write_voc: Callable[..., Path]
) -> None:
    root = write_voc({}, sets={"train": content})
    assert _names(root, "train") == names


def test_v3_a_name_that_ends_like_a_column_stays_whole(write_voc: Callable[..., Path]) -> None:
    root = write_voc({"photo 1": []}, sets={"train": "photo 1\nphoto 0\n"})
    assert _names(root, "train") == ["photo 1", "photo"]


def test_v4_repeated_names_count_once(write_voc: Callable[..., Path]) -> None:
    root = write_voc({}, sets={"train": "b\na\nb\nb\n"})
    (found,) = read_sets(root, "train")
    assert (found.names, found.repeated) == (["b", "a"], 2)


def test_parts_of_a_set(write_voc: Callable[..., Path]) -> None:
    root = write_voc({}, sets={"all": "\n".join(f"{number:03d}" for number in range(60))})
    whole, first, second = (_names(root, f"all{cut}") for cut in ("", "[:80%]", "[80%:]"))
    assert not set(first) & set(second)
    assert sorted(first + second) == whole
    assert _names(root, "all[:7]+all[7:9]") == _names(root, "all[:7]") + _names(root, "all[7:9]")
    with pytest.raises(DataError, match=r"no picture lies in this part of the 60 of all"):
        read_sets(root, "all[60:]")


def test_a_single_set_may_serve_twice(write_voc: Callable[..., Path]) -> None:
    root = write_voc({"a": []}, sets={"all": "a"})
    with pytest.raises(DataError, match=r"Sets in .*: all\. .*data\.val: NAME\[80%:\]\."):
        read_sets(root, "val")
    with pytest.raises(DataError, match=r"No set of pictures is named.*data\.train: NAME\[:80%\]"):
        read_sets(root, "")


@pytest.mark.parametrize("sets", ["train+", "../train", "sub/train"])
def test_set_names_that_are_none(sets: str, write_voc: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="is not the name of a set"):
        read_sets(write_voc({"a": []}), sets)


def _picture(folder: VOCFolder, name: str, filename: str | None = None) -> str | None:
    found = folder.picture(name, filename, Path("a.xml"))
    return None if found is None else found.name


def _folder(root: Path, *pictures: str) -> VOCFolder:
    (root / "JPEGImages").mkdir(exist_ok=True)
    for name in pictures:
        Image.new("RGB", (2, 2)).save(root / "JPEGImages" / name, format="PNG")
    return VOCFolder(root)


@pytest.mark.parametrize("extension", [".jpg", ".JPG", ".jpeg", ".png", ".Png", ".tif", ".webp"])
def test_v19_extensions(extension: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, f"a{extension}", "b.v2.png")
    assert _picture(folder, "a") == f"a{extension}"
    assert _picture(folder, "a", "a.bmp") == f"a{extension}"
    assert _picture(folder, "A", "A.JPEG") == f"a{extension}"
    assert _picture(folder, "b.v2") == "b.v2.png"


def test_v19_filename_chooses_or_stands_in_but_never_overrules(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert _picture(folder, "a", "a.png") == "a.png"
    assert _picture(folder, "renamed", "b.jpg") == "b.jpg"
    assert _picture(folder, "a", "b.jpg") == "a.jpg"
    assert _picture(folder, "c", "d.jpg") is None


def test_v19_pictures_in_sub_folders(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (tmp_path / "JPEGImages" / "day1").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "JPEGImages" / "day1" / "x.png")
    found = folder.picture("day1/x", None, Path("a.xml"))
    assert found == tmp_path / "JPEGImages" / "day1" / "x.png"


@pytest.mark.parametrize("filename", ["../../../etc/passwd", "/etc/passwd", "../../other/a.jpg"])
def test_v20_filename_may_not_leave_the_folder(filename: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"<filename> in a\.xml leads to .* outside"):
        _picture(_folder(tmp_path, "a.jpg"), "a", filename)


def test_v20_names_may_not_leave_the_folder(write_voc: Callable[..., Path]) -> None:
    root = write_voc({}, sets={"train": "../../secret"})
    (found,) = read_sets(root, "train")
    with pytest.raises(DataError, match="outside of the data folder"):
        found.folder.annotation("../../secret")


def test_v20_links_may_not_leave_the_folder_unless_it_is_a_whole_one(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (2, 2)).save(outside / "a.png")
    linked_file = tmp_path / "one"
    (linked_file / "JPEGImages").mkdir(parents=True)
    (linked_file / "JPEGImages" / "a.png").symlink_to(outside / "a.png")
    with pytest.raises(DataError, match="outside of the data folder"):
        _picture(VOCFolder(linked_file), "a")
    linked_folder = tmp_path / "two"
    linked_folder.mkdir()
    (linked_folder / "JPEGImages").symlink_to(outside)
    assert _picture(VOCFolder(linked_folder), "a") == "a.png"


def test_missing_picture_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="JPEGImages: there is no such folder"):
        _picture(VOCFolder(tmp_path), "a")
