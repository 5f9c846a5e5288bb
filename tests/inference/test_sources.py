"""Which files `rfcn infer` takes."""

from pathlib import Path

import pytest

from rfcn.errors import DataError
from rfcn.inference.sources import find_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp", "deep/d.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return tmp_path


def names(inputs: list[str], folder: Path) -> tuple[list[str], list[str]]:
    pictures, others = find_pictures(inputs)
    return tuple([str(path.relative_to(folder)) for path in paths] for paths in (pictures, others))


# I14
def test_a_folder_means_its_own_pictures_and_names_the_rest(folder: Path) -> None:
    assert names([str(folder)], folder) == (["a.png", "b.JPG"], ["notes.txt"])


def test_a_named_file_is_taken_whatever_its_extension(folder: Path) -> None:
    assert names([str(folder / "notes.txt")], folder) == (["notes.txt"], [])


def test_a_pattern_passes_over_what_is_no_picture(folder: Path) -> None:
    assert names([f"{folder}/*"], folder) == (
        ["a.png", "b.JPG", "deep/c.webp"],
        ["deep/d.csv", "notes.txt"],
    )
    assert names([f"{folder}/**/*.webp"], folder) == (["deep/c.webp"], [])
    assert names([f"{folder}/?.png"], folder) == (["a.png"], [])


def test_each_picture_once_in_the_order_given(folder: Path) -> None:
    inputs = [str(folder / "b.JPG"), str(folder), f"{folder}/*.png"]
    assert names(inputs, folder)[0] == ["b.JPG", "a.png"]


def test_names_that_look_like_patterns(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").touch()
    assert names([str(tmp_path / "a[1].png")], tmp_path) == (["a[1].png"], [])


def test_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names(["~/a.png"], folder) == (["a.png"], [])
    assert names(["~/*.JPG"], folder) == (["b.JPG"], [])


# I14
def test_i14_nothing_to_find(folder: Path) -> None:
    for missing in (folder / "absent.jpg", folder / "*.tif"):
        with pytest.raises(DataError, match="no such file or folder, and no file fits it") as fault:
            find_pictures([str(missing)])
        assert str(missing) in str(fault.value)


# I14
def test_i14_no_picture_at_all(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*empty\. Give picture files"):
        find_pictures([str(folder / "empty")])
    with pytest.raises(DataError, match=r"\(1 other files passed over\).* \.webp"):
        find_pictures([f"{folder}/*.txt"])
