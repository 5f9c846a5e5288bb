"""What a picture may come in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.rules import FileRules
from rfcn.errors import DataError
from rfcn.inference.pictures import read_picture

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
THRICE = np.repeat(GREY[:, :, None], 3, axis=2)
RGBA = np.dstack([RGB, np.array([[255, 255, 255], [255, 255, 0]], np.uint8)])
ON_WHITE = RGB.copy()
ON_WHITE[1, 2] = 255
CHANNELS_FIRST = torch.from_numpy(RGB.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (np.asfortranarray(RGB), RGB),
        (RGB[:, ::-1, ::-1], RGB[:, ::-1, ::-1]),
        (GREY, THRICE),
        (GREY[:, :, None], THRICE),
        (RGBA, ON_WHITE),
        (RGB.astype(np.uint16) * 257, RGB),
        (GREY.astype(np.uint16) * 257, THRICE),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB / 255, RGB),
        (RGB.astype(np.float32) / 255 * 1.001, RGB),
        (np.zeros((2, 3, 3), np.float16), RGB * 0),
        (GREY.astype(np.float32) / 255, THRICE),
        (RGBA.astype(np.float32) / 255, ON_WHITE),
        (CHANNELS_FIRST, RGB),
        (CHANNELS_FIRST.float().div(255).requires_grad_(), RGB),
        (CHANNELS_FIRST.double() / 255, RGB),
        (torch.from_numpy(GREY), THRICE),
        (torch.from_numpy(GREY)[None], THRICE),
        (torch.from_numpy(RGBA.transpose(2, 0, 1).copy()), ON_WHITE),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), THRICE),
        (Image.fromarray(RGBA), ON_WHITE),
    ],
    ids=[
        *("array", "Fortran order", "mirrored and BGR to RGB", "grey", "grey with an axis", "RGBA"),
        *("16 bits", "16 bits grey", "float32", "float64", "a hair over 1", "float16"),
        *("float grey", "float RGBA", "tensor", "float tensor", "double tensor", "grey tensor"),
        *("grey tensor with an axis", "RGBA tensor", "Pillow", "Pillow grey", "Pillow RGBA"),
    ],
)
# I13
def test_i13_what_is_accepted_becomes_rgb_bytes(given, expected: np.ndarray) -> None:
    picture = read_picture(given)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, expected)


def test_bytes_of_rgb_are_not_copied() -> None:
    assert read_picture(RGB) is RGB


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            np.zeros((3, 20, 30), np.uint8),
            "uint8 [3, 20, 30]; channels come last in arrays: array.",
        ),
        (np.zeros((20, 30, 2), np.uint8), "uint8 [20, 30, 2]"),
        (np.zeros((1, 20, 30, 3), np.uint8), "uint8 [1, 20, 30, 3]"),
        (np.zeros((0, 30, 3), np.uint8), "uint8 [0, 30, 3]"),
        (np.zeros(30, np.uint8), "uint8 [30]"),
        (np.zeros((20, 30, 3), np.int16), "int16 [20, 30, 3]"),
        (np.zeros((20, 30), bool), "bool [20, 30]"),
        (np.full((20, 30, 3), 200.0), "float64 [20, 30, 3]; its values are 200..200: divide"),
        (np.full((2, 3, 3), -0.5, np.float32), "float32 [2, 3, 3]; its values are -0.5..-0.5"),
        (np.full((2, 3, 3), np.nan, np.float32), "float32 [2, 3, 3]; its values are nan..nan"),
        (torch.zeros(20, 30, 3), "torch.float32 [20, 30, 3]; channels come first in tensors"),
        (torch.zeros(2, 20, 30), "torch.float32 [2, 20, 30]"),
        (torch.zeros(1, 3, 20, 30), "torch.float32 [1, 3, 20, 30]"),
        (torch.zeros(3, 0, 30), "torch.float32 [3, 0, 30]"),
        (torch.zeros(3, 4, 4, dtype=torch.bfloat16), "torch.bfloat16 [3, 4, 4]"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64 [4, 4, 3]"),
        ([[1, 2], [3, 4]], "not list"),
        (b"\xff\xd8", "not bytes"),
        (None, "not NoneType"),
    ],
)
# I13
def test_i13_what_is_refused_is_named(given, says: str) -> None:
    with pytest.raises(ValueError, match=r"^a picture .*must be ") as fault:
        read_picture(given)
    assert says in str(fault.value)


def turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    return path


# I7
def test_files_and_pillows_pictures_are_turned_alike(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.png", 6)
    upright = np.rot90(RGB, -1)
    for given in (path, str(path), Image.open(path)):
        assert np.array_equal(read_picture(given), upright)
        given = Image.open(path) if isinstance(given, Image.Image) else given
        assert np.array_equal(read_picture(given, FileRules(exif="ignore")), RGB)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert np.array_equal(read_picture("~/a.png"), RGB)


# I9
@pytest.mark.parametrize("kind", [str, Path, Image.open])
def test_i9_the_rules_of_a_detector_hold_for_all(kind, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    with pytest.raises(DataError, match=r"a\.png: 3 x 2 pixels, the limit is"):
        read_picture(kind(path), FileRules(max_pixels=5))


# I2
def test_i2_a_torn_picture_that_pillow_has_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.zeros((99, 99, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a\.jpg: the picture is damaged"):
        read_picture(Image.open(path))
