"""The sheet of a training batch."""

import numpy as np
import pytest
import torch

from rfcn.structures import ImageBatch, Target
from rfcn.visualization.colours import class_colour
from rfcn.visualization.montage import PADDING, _fitted, draw_training_batch

NAMES = ("cat", "dog")


def batch(count, height=64, width=96, ids=True):
    pixels = torch.full((count, 3, height, width), 90, dtype=torch.uint8)
    sizes = [(max(1, height - 8 * index), width) for index in range(count)]
    names = [f"picture {index}" for index in range(count)] if ids else []
    return ImageBatch(pixels, sizes, sizes, names)


def target(*rows):
    return Target(
        torch.tensor(rows, dtype=torch.float32).reshape(-1, 4),
        torch.ones(len(rows), dtype=torch.int64),
        torch.zeros(len(rows), dtype=torch.bool),
    )


def test_every_picture_is_on_the_sheet_with_its_boxes():
    four = batch(4)
    kept = four.tensor.clone()
    targets = [target([8, 8, 56, 40]), target(), target([0, 0, 96, 48]), target([1, 1, 9, 9])]
    sheet = draw_training_batch(four, targets, NAMES)
    assert sheet.dtype == np.uint8
    assert torch.equal(four.tensor, kept)
    with_boxes = (sheet == class_colour(1)).all(axis=2)
    half_rows, half_columns = sheet.shape[0] // 2, sheet.shape[1] // 2
    quarters = [
        with_boxes[rows, columns].any()
        for rows in (slice(0, half_rows), slice(half_rows, None))
        for columns in (slice(0, half_columns), slice(half_columns, None))
    ]
    assert quarters == [True, False, True, True]


def test_padding_is_grey_not_black():
    padded = draw_training_batch(batch(2), [target(), target()], NAMES)
    whole = draw_training_batch(batch(1), [target()], NAMES)
    # Single pixels of this grey are in the letters.
    shares = [(sheet == PADDING).all(axis=2).mean() for sheet in (padded, whole)]
    assert shares[0] > 0.03
    assert shares[1] < 0.001
    assert not (padded == 0).all(axis=2).any()


@pytest.mark.parametrize(
    ("count", "height", "width"), [(0, 8, 8), (1, 1, 1), (3, 1, 5000), (2, 5000, 1), (17, 32, 32)]
)
def test_any_batch(count, height, width):
    sheet = draw_training_batch(batch(count, height, width, ids=False), [target()] * count, NAMES)
    assert sheet.ndim == 3
    assert max(sheet.shape) <= 1700


def test_a_long_caption_is_cut():
    assert _fitted("short", 500) == "short"
    cut = _fitted("a very long name of a picture", 80)
    assert cut.endswith("…")
    assert cut.startswith("a very")
    assert _fitted("name", 1) == ""
