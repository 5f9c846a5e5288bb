"""What is done about files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.coco import COCODataset
from rfcn.datasets.rules import FileRules
from rfcn.datasets.yolo import YOLODataset
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


# I1
def test_broken_pictures_of_coco_and_yolo_stay_to_be_skipped(
    write_coco: Callable[..., Path], write_yolo: Callable[..., Path]
) -> None:
    coco = write_coco({5: [(3, 1, 2, 10, 20)], 6: [(3, 1, 2, 10, 20)]})
    broken = [coco / "train2017" / "000000000005.jpg"]
    yolo = write_yolo({"a": "0 0.5 0.5 0.5 0.5", "b": "0 0.5 0.5 0.5 0.5"})
    broken.append(yolo / "images" / "train" / "a.jpg")
    for path in broken:
        path.write_text("torn")
    for kind, root, name in ((COCODataset, coco, "train2017"), (YOLODataset, yolo, "train")):
        with pytest.raises(DataError, match="not a picture in a known format"):
            kind(root, name)
        data = kind(root, name, files=FileRules(on_bad_image="skip"))
        assert [len(data.target(index).boxes) for index in range(len(data))] == [1, 1]
        assert data.sizes[1] == (30, 40)
        (note,) = data.notes
        assert note.startswith("Pictures that cannot be read, which will be skipped: 1 (")
        with pytest.raises(DataError, match="not a picture"):
            data[0]
