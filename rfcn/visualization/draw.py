"""Boxes with names on a picture: what is true (dashed) and what was found (solid).

Pictures are uint8 RGB [H, W, 3]; boxes are half-open pixels of the picture (`rfcn.boxes`), and a
frame covers the outermost pixels inside its box. Nothing here changes its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from rfcn.boxes import iou
from rfcn.structures import Detections, Target
from rfcn.visualization.chips import Box, Chip, draw_chips
from rfcn.visualization.colours import RGB, class_colour

Picture = NDArray[np.uint8]

WHITE = (255, 255, 255)
SHADOW = (0, 0, 0, 110)
"""A thin shade on both sides of a line shows it on any background."""
LEAST_VIEW = 480
"""Smaller pictures are enlarged before they are compared, so that names can be read."""
FOUND_IOU = 0.5
"""A ground-truth box that no detection of its class overlaps so much is marked as missed."""


@dataclass(frozen=True)
class BoxStyle:
    """How the frames of one call look."""

    dashed: bool = False
    line_width: int | None = None
    """Pixels; by the size of the picture if None."""
    colour: RGB | None = None
    """One for all; that of each class if None."""
    names: bool = True
    """Write the names."""


DETECTION = BoxStyle()
GROUND_TRUTH = BoxStyle(dashed=True)


def draw_boxes(
    image: Picture,
    boxes: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    scores: Tensor | None = None,
    style: BoxStyle = DETECTION,
) -> Picture:
    """A copy of the picture with a frame and a name for each box.

    image: uint8 [H, W, 3]; boxes: [D, 4]; labels: [D] int64, 1..C; class_names: C names;
    scores: [D], written behind the names, the best drawn on top -> uint8 [H, W, 3].
    """
    check_picture(image)
    canvas = Image.fromarray(image)
    width = style.line_width or _line_width(canvas.size)
    order = range(len(boxes)) if scores is None else scores.argsort(stable=True).tolist()
    chips = []
    for index in order:
        label = int(labels[index])
        colour = style.colour or class_colour(label)
        box = _whole_pixels(boxes[index])
        _draw_frame(canvas, box, colour, width, style.dashed)
        score = "" if scores is None else f" {float(scores[index]):.2f}"
        chips.append(Chip(f"{class_names[label - 1]}{score}", colour, box))
    if style.names:
        draw_chips(canvas, chips)
    return np.asarray(canvas).copy()


def draw_comparison(
    image: Picture, target: Target, detections: Detections, class_names: Sequence[str]
) -> Picture:
    """What was found (solid, with scores) over what is true (white dashes; misses are named).

    Pictures smaller than 480 pixels are enlarged by a whole factor.
    """
    check_picture(image)
    factor = max(1, round(LEAST_VIEW / max(image.shape[:2])))
    view = image.repeat(factor, axis=0).repeat(factor, axis=1)
    found = replace(detections, boxes=detections.boxes * factor)
    truth = replace(target, boxes=target.boxes * factor)
    missed = ~_is_found(truth, found)
    width = _line_width((view.shape[1], view.shape[0]))
    frames = BoxStyle(line_width=width + 1, names=False)
    dashes = BoxStyle(dashed=True, line_width=width, colour=WHITE, names=False)
    view = draw_boxes(
        view, found.boxes, found.labels, class_names, scores=found.scores, style=frames
    )
    view = draw_boxes(view, truth.boxes, truth.labels, class_names, style=dashes)
    return _name_all(view, found, truth.boxes[missed], truth.labels[missed], class_names)


def check_picture(image: Picture) -> None:
    """ValueError unless `image` is uint8 [H, W, 3] with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"a picture must be uint8 of shape [H, W, 3], not {image.dtype} {list(image.shape)}"
        )


def _is_found(target: Target, detections: Detections) -> Tensor:
    """[G] bool: which ground-truth boxes a detection of their class covers."""
    same = target.labels[:, None] == detections.labels[None]
    return ((iou(target.boxes, detections.boxes) >= FOUND_IOU) & same).any(dim=1)


def _name_all(
    image: Picture,
    found: Detections,
    missed_boxes: Tensor,
    missed_labels: Tensor,
    class_names: Sequence[str],
) -> Picture:
    chips = [
        Chip(f"missed: {class_names[int(label) - 1]}", WHITE, _whole_pixels(box))
        for box, label in zip(missed_boxes, missed_labels, strict=True)
    ]
    for index in found.scores.argsort(stable=True).tolist():
        label = int(found.labels[index])
        text = f"{class_names[label - 1]} {float(found.scores[index]):.2f}"
        chips.append(Chip(text, class_colour(label), _whole_pixels(found.boxes[index])))
    canvas = Image.fromarray(image)
    draw_chips(canvas, chips)
    return np.asarray(canvas).copy()


def _whole_pixels(box: Tensor) -> Box:
    """The box on the grid of pixels, at least one wide and high."""
    x1, y1, x2, y2 = (round(value) for value in box.tolist())
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _line_width(size: tuple[int, int]) -> int:
    """Two pixels on an ordinary photo, one on a thumbnail."""
    return max(1, round(0.0045 * (size[0] * size[1]) ** 0.5))


def _draw_frame(canvas: Image.Image, box: Box, colour: RGB, width: int, dashed: bool) -> None:
    x1, y1, x2, y2 = box
    width = max(1, min(width, (x2 - x1) // 4, (y2 - y1) // 4))
    pen = ImageDraw.Draw(canvas, "RGBA")
    if width > 1:
        for strip in _sides((x1 - 1, y1 - 1, x2 + 1, y2 + 1), 1):
            _fill(pen, strip, SHADOW)
        for strip in _sides((x1 + width, y1 + width, x2 - width, y2 - width), 1):
            _fill(pen, strip, SHADOW)
    for strip in _sides(box, width):
        for dash in _dashes(strip, 4 * width) if dashed else [strip]:
            _fill(pen, dash, (*colour, 255))


def _sides(box: Box, width: int) -> list[Box]:
    """The four strips of a frame inside `box`, without common pixels."""
    x1, y1, x2, y2 = box
    return [
        (x1, y1, x2, y1 + width),
        (x1, y2 - width, x2, y2),
        (x1, y1 + width, x1 + width, y2 - width),
        (x2 - width, y1 + width, x2, y2 - width),
    ]


def _dashes(strip: Box, length: int) -> list[Box]:
    """Dashes along a strip with gaps about as long, and a dash at either end; the whole strip
    where no gap fits."""
    x1, y1, x2, y2 = strip
    level = x2 - x1 > y2 - y1
    start, stop = (x1, x2) if level else (y1, y2)
    gaps = max(0, round((stop - start - length) / (2 * length)))
    if gaps == 0:
        return [strip]
    step = (stop - start - length) / gaps
    starts = [round(start + index * step) for index in range(gaps + 1)]
    ends = [min(first + length, stop) for first in starts]
    if level:
        return [(first, y1, last, y2) for first, last in zip(starts, ends, strict=True)]
    return [(x1, first, x2, last) for first, last in zip(starts, ends, strict=True)]


def _fill(pen: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = box
    if x2 > x1 and y2 > y1:
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
