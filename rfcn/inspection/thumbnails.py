"""Small pictures of single cases, to lie inside a page: what is wrong is framed and in sight."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from rfcn.datasets.image import read_image
from rfcn.datasets.listed import Box
from rfcn.errors import DataError
from rfcn.visualization.draw import BoxStyle, draw_boxes

MOST_WIDTH, MOST_HEIGHT = 300, 190
WRONG = (235, 70, 0)
OTHERS = (86, 180, 233)
PAPER = 225
"""Grey of what lies beyond the edge of the picture."""
LEAST_SIDE = 14
"""A frame is drawn at least so large, in pixels of the thumbnail."""
LEAST_WINDOW = 0.4
"""A small box is shown with its surroundings, at least this share of the picture's sides."""
BEYOND = 0.25
"""How far outside of the picture one can see, as a share of its sides."""
QUALITY = 82


def thumbnail(path: str, boxes: Sequence[Box], others: Sequence[Box] = ()) -> str | None:
    """A data URI of the picture with its boxes; None where it cannot be read.

    boxes: what is wrong, framed boldly, whatever it is: empty, reversed, outside. others: framed
    thinly. Both in pixels of the picture. Around small boxes the picture is cut.
    """
    try:
        image = read_image(path)
    except DataError:
        return None
    ordered = [_ordered(box, image) for box in boxes]
    window = _window(image.shape[1], image.shape[0], ordered)
    view, scale = _view(image, window)
    shift = np.array([window[0], window[1]] * 2, dtype=np.float32)
    for these, style in (
        (np.array(others, dtype=np.float32).reshape(-1, 4), BoxStyle(True, 1, OTHERS, False)),
        (np.array(ordered, dtype=np.float32).reshape(-1, 4), BoxStyle(False, 3, WRONG, False)),
    ):
        placed = (these - shift) * scale
        if style.colour == WRONG:
            placed = _at_least(placed, LEAST_SIDE)
        labels = torch.ones(len(placed), dtype=torch.int64)
        view = draw_boxes(view, torch.from_numpy(placed), labels, ("",), style=style)
    content = io.BytesIO()
    Image.fromarray(view).save(content, format="JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _ordered(box: Box, image: np.ndarray) -> Box:
    """The box with its corners in order, finite, and not further away than one can see."""
    height, width = image.shape[:2]
    limits = np.array([[-BEYOND, 1 + BEYOND]]) * np.array([[width], [height]])
    x = np.clip(np.nan_to_num(sorted((box[0], box[2]))), *limits[0])
    y = np.clip(np.nan_to_num(sorted((box[1], box[3]))), *limits[1])
    return float(x[0]), float(y[0]), float(x[1]), float(y[1])


def _window(width: int, height: int, boxes: Sequence[Box]) -> tuple[int, int, int, int]:
    """The part of the plane to show: the whole picture, or what is around one small box."""
    if not boxes:
        return 0, 0, width, height
    low = np.array(boxes)[:, :2].min(axis=0)
    high = np.array(boxes)[:, 2:].max(axis=0)
    size = np.array([width, height])
    side = np.maximum(4 * (high - low).max(), LEAST_WINDOW * size.max())
    sides = np.minimum(side * size / size.max(), size)
    start = np.clip((low + high) / 2 - sides / 2, 0, size - sides)
    start, stop = np.minimum(start, low - 2), np.maximum(start + sides, high + 2)
    start, stop = np.floor(start).astype(int), np.ceil(stop).astype(int)
    return int(start[0]), int(start[1]), int(stop[0]), int(stop[1])


def _view(image: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, float]:
    """The window as a small picture, and by how much it was scaled."""
    x1, y1, x2, y2 = window
    plane = np.full((y2 - y1, x2 - x1, 3), PAPER, np.uint8)
    height, width = image.shape[:2]
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if right > left and bottom > top:
        plane[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    scale = min(MOST_WIDTH / plane.shape[1], MOST_HEIGHT / plane.shape[0])
    size = (max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale)))
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(plane).resize(size, method)).copy(), scale


def _at_least(boxes: np.ndarray, side: float) -> np.ndarray:
    """Boxes grown around their centres where a side is shorter."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum(boxes[:, 2:] - boxes[:, :2], side) / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
