"""What every format shares; the formats' own tests try it on files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.listed import checked_names, stop_at_unknown
from rfcn.datasets.loader import TrainLoader
from rfcn.datasets.proposals import WithProposals
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError


@pytest.mark.parametrize("names", [[], ["a", ""], ["a", "b", "a"]])
def test_lists_of_classes_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(DataError, match="List each name once"):
        checked_names(names)


def test_classes_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n dining table \n")
    assert checked_names(str(tmp_path / "names.txt")) == ("cat", "dining table")


def test_unknown_classes_are_counted_with_the_nearest_known() -> None:
    stop_at_unknown([("cat", Path("a"))], ["cat"])
    named = [("cat", Path("a")), ("Dog", Path("b")), ("Dog", Path("c"))]
    with pytest.raises(DataError, match=r"'Dog' \(2 objects, nearest 'dog'\); first in b"):
        stop_at_unknown(named, ["cat", "dog"])


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photos_give_the_same_batch_from_a_smaller_decoding(
    orientation: int, write_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes and boxes to the last digit that counts, pixels nearly; its proposals too."""
    high, wide = (405, 301) if orientation == 6 else (301, 405)
    root = write_voc({"a": [("x", 11, 21, 200, 300), ("x", 1, 1, wide, high)]})
    pixels = np.arange(301 * 405).reshape(301, 405) // 480
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / "JPEGImages" / "a.jpg"
    photo = Image.fromarray(pixels.astype(np.uint8)).convert("RGB")
    photo.save(path, format="JPEG", quality=95, exif=exif)
    data = VOCDataset(root, "train")
    given = WithProposals(data, [np.array([[5.0, 6, 100, 250]], np.float32)])
    loader = TrainLoader(
        given, batch_size=1, short_sides=(50,), max_long_side=80, flip=True, use_difficult=False,
        seed=5, workers=0,
    )  # fmt: skip
    assert data.reduced(0, (50, 67)).image.shape[:2] == (-(-high // 4), -(-wide // 4))
    batch, targets = next(iter(loader))
    monkeypatch.setattr(VOCDataset, "reduced", lambda self, index, _: self[index])
    whole, expected = next(iter(loader))
    assert batch.sizes == whole.sizes
    assert batch.original_sizes == whole.original_sizes == [(high, wide)]
    torch.testing.assert_close(targets[0].boxes, expected[0].boxes, rtol=0, atol=1e-4)
    assert batch.proposals is not None
    assert whole.proposals is not None
    torch.testing.assert_close(batch.proposals[0], whole.proposals[0], rtol=0, atol=1e-4)
    assert (batch.tensor.float() - whole.tensor.float()).abs().mean() < 2
