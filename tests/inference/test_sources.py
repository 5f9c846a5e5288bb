"""Which files `rfcn infer` takes."""

from pathlib import Path

import pytest

from rfcn.errors import DataError
from rfcn.inference.sources import Camera, find_sources, is_film, is_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp", "deep/d.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return tmp_path


def names(inputs: list[str], folder: Path, **options: bool) -> tuple[list[str], list[str]]:
    pictures, others = find_sources(inputs, **options)
    return tuple([str(path.relative_to(folder)) for path in paths] for paths in (pictures, others))


# I14
def test_a_folder_means_its_own_pictures_and_names_the_rest(folder: Path) -> None:
    assert names([str(folder)], folder) == (["a.png", "b.JPG"], ["notes.txt"])


def test_a_named_file_is_taken_whatever_its_extension(folder: Path) -> None:
    (folder / "photo").touch()
    assert names([str(folder / "photo")], folder) == (["photo"], [])


def test_folders_below_when_asked_for(folder: Path) -> None:
    assert names([str(folder)], folder, recursive=True) == (
        ["a.png", "b.JPG", "deep/c.webp"],
        ["deep/d.csv", "notes.txt"],
    )


def test_videos_stand_among_pictures(folder: Path) -> None:
    (folder / "c.MP4").touch()
    assert names([str(folder)], folder)[0] == ["a.png", "b.JPG", "c.MP4"]
    assert is_film(folder / "c.MP4")
    assert not is_film(folder / "a.png")
    assert is_picture(folder / "b.JPG")
    assert not is_picture(Camera(0))


def test_a_number_is_a_camera_unless_a_file_has_that_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "7").touch()
    assert find_sources(["0", "7"]) == ([Camera(0), Path("7")], [])
    assert is_film(Camera(0))
    assert str(Camera(0)) == "camera 0"


def test_a_list_of_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    listed = folder / "deep" / "list.txt"
    lines = ["\ufeff# mine", "", f" {folder / 'b.JPG'} ", "c.webp", f"{folder.name}/*.png"]
    listed.write_text("\n".join(lines), encoding="utf-8")
    found, _ = find_sources([str(listed)])  # beside the list, or from where we are
    assert [path.name for path in found] == ["b.JPG", "c.webp", "a.png"]
    with pytest.raises(DataError, match="no pictures in"):
        find_sources([str(folder / "notes.txt")])
    listed.write_text("gone.jpg\n")
    with pytest.raises(DataError, match=r"gone\.jpg: there is no such file"):
        find_sources([str(listed)])
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a list"):
        find_sources([str(listed)])


def test_nothing_comes_from_standard_input() -> None:
    with pytest.raises(DataError, match=r"not read from standard input\. Write"):
        find_sources(["-"])


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
            find_sources([str(missing)])
        assert str(missing) in str(fault.value)


# I14
def test_i14_no_picture_at_all(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*empty\. Give picture or video files"):
        find_sources([str(folder / "empty")])
    with pytest.raises(DataError, match=r"\(1 other files passed over\).* \.webp"):
        find_sources([f"{folder}/*.txt"])
