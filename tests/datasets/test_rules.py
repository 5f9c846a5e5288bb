"""What is done about files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.rules import FileRules
from rfcn.errors import DataError


@pytest.mark.parametrize(
    ("policy", "pictures", "allowed"),
    [("stop", 10_000, 0), ("skip", 10, 3), ("skip", 399, 3), ("skip", 400, 4), ("skip", 5011, 50)],
)
def test_how_many_may_be_skipped(policy: str, pictures: int, allowed: int) -> None:  # I12
    assert FileRules(on_bad_image=policy).may_skip(pictures) == allowed  # type: ignore[arg-type]


def test_pictures_are_read_by_the_rules(tmp_path: Path) -> None:  # I7, I9
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    stored, upright = FileRules(exif="ignore"), FileRules()
    assert stored.header(tmp_path / "a.png").size == (2, 4)
    assert upright.header(tmp_path / "a.png").size == (4, 2)
    np.testing.assert_array_equal(stored.read(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(upright.read(tmp_path / "a.png"), np.rot90(pixels, -1))
    small = FileRules(max_pixels=7)
    for read in (small.read, small.header):
        with pytest.raises(DataError, match=r"limit is 7e-06 million.*data\.max_pixels"):
            read(tmp_path / "a.png")
