"""Damage that a decoder gets over."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.image import read_image
from rfcn.datasets.jpeg import complaint
from rfcn.errors import DataError


def _noise(path: Path) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    return path.read_bytes()


# I3
def test_i3_flipped_bits_are_decoded_with_a_note(tmp_path: Path) -> None:
    """Each flip is refused, noted, or too small for the decoder to lose its way."""
    path = tmp_path / "flipped.jpg"
    content = _noise(path)
    whole = read_image(path).astype(int)
    assert complaint(path) is None
    chance = np.random.default_rng(0)
    noted = unnoticed = 0
    for _ in range(40):
        damaged = bytearray(content)
        damaged[int(chance.integers(700, len(content) - 2))] ^= 1 << int(chance.integers(8))
        path.write_bytes(damaged)
        try:
            harm = np.abs(read_image(path).astype(int) - whole).mean() > 5
        except DataError:
            continue
        said = complaint(path)
        noted += said is not None and said.startswith("Corrupt JPEG data: ")
        unnoticed += said is None and bool(harm)
    assert noted >= 5
    assert unnoticed <= noted


def test_the_error_output_is_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jpg"
    content = _noise(path)
    path.write_bytes(content[:-2] + bytes(50) + content[-2:])
    said = complaint(path)
    assert said is not None
    assert "extraneous bytes before marker 0xd9" in said
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_what_is_no_jpeg_has_no_complaint(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff")
    assert complaint(tmp_path / "a.png") is complaint(tmp_path / "b.jpg") is None
    with pytest.raises(DataError, match=r"absent\.jpg: cannot be read"):
        complaint(tmp_path / "absent.jpg")
