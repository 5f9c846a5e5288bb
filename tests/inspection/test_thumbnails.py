"""Thumbnails: what is wrong stays in sight, however small or far outside."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.inspection.thumbnails import LEAST_SIDE, MOST_HEIGHT, MOST_WIDTH, PAPER, WRONG, thumbnail

Box = tuple[float, float, float, float]


def pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "x.png"
    Image.new("RGB", (640, 480), (40, 60, 200)).save(path)
    return str(path)


def framed(view: np.ndarray) -> np.ndarray:
    """Where the colour of what is wrong is, about."""
    return np.abs(view - WRONG).max(axis=2) < 70


def test_the_whole_picture_without_boxes(picture: str) -> None:
    view = pixels(thumbnail(picture, ()))
    assert view.shape == (MOST_HEIGHT, round(640 * MOST_HEIGHT / 480), 3)
    assert not framed(view).any()


@pytest.mark.parametrize(
    "box",
    [
        (100, 100, 300, 250),
        (504, 337, 504, 337),  # empty
        (300, 250, 100, 100),  # reversed
        (-1, -1, 3, 3),
        (700, 100, 5000, 300),  # outside
        (float("nan"), 5, float("inf"), 9),
    ],
)
def test_every_box_can_be_seen(picture: str, box: Box) -> None:
    view = pixels(thumbnail(picture, [box]))
    assert view.shape[0] <= MOST_HEIGHT
    assert view.shape[1] <= MOST_WIDTH
    assert framed(view).sum() >= LEAST_SIDE


def test_what_lies_outside_of_the_picture_is_grey(picture: str) -> None:
    view = pixels(thumbnail(picture, [(500, 100, 760, 300)]))
    assert (np.abs(view[:, -1] - PAPER).max(axis=1) < 12).mean() > 0.5
    assert (np.abs(view[:, 2] - (40, 60, 200)).max(axis=1) < 12).all()


def test_small_boxes_are_shown_closely(picture: str) -> None:
    found = framed(pixels(thumbnail(picture, [(300, 200, 330, 230)])))
    columns = np.flatnonzero(found.any(axis=0))
    assert columns.max() - columns.min() > 30 * 2 * MOST_WIDTH / 640 * 0.9


def test_a_picture_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert thumbnail(str(tmp_path / "absent.jpg"), ()) is None
