"""The pictures of a training batch as the model gets them, with their targets: on one sheet."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from rfcn.structures import ImageBatch, Target
from rfcn.visualization.chips import load_font
from rfcn.visualization.draw import GROUND_TRUTH, Picture, draw_boxes

SHEET_WIDTH = 1600
"""Pixels, about."""
LARGEST_TILE = 640
GAP = 8
CAPTION = 22
PAPER = (255, 255, 255)
PADDING = (210, 210, 210)
"""What the batch fills up with zeros is shown in grey."""


def draw_training_batch(
    batch: ImageBatch, targets: Sequence[Target], class_names: Sequence[str]
) -> Picture:
    """One sheet with every picture of a batch after resizing and augmentation.

    batch.tensor: uint8 [N, 3, H, W]; targets: N, in the pixels of the resized pictures. Below each
    picture stand its name, its size and how many boxes it has -> uint8 [h, w, 3].
    """
    count = len(batch)
    columns = max(1, math.ceil(math.sqrt(count)))
    height, width = batch.tensor.shape[2:]
    tile_width = min(LARGEST_TILE, (SHEET_WIDTH - GAP) // columns - GAP)
    scale = tile_width / max(width, height)
    tile = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = math.ceil(count / columns)
    step = (tile[0] + GAP, tile[1] + CAPTION + GAP)
    sheet = Image.new("RGB", (columns * step[0] + GAP, max(1, rows) * step[1] + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for index in range(count):
        corner = (GAP + index % columns * step[0], GAP + index // columns * step[1])
        picture = _tile(batch, index, targets[index], class_names, tile)
        sheet.paste(Image.fromarray(picture), corner)
        text = _fitted(_caption(batch, index, targets[index]), tile[0])
        pen.text((corner[0], corner[1] + tile[1] + 3), text, fill=(60, 60, 60), font=load_font(13))
    return np.asarray(sheet).copy()


def _tile(
    batch: ImageBatch,
    index: int,
    target: Target,
    class_names: Sequence[str],
    tile: tuple[int, int],
) -> Picture:
    pixels = batch.tensor[index].permute(1, 2, 0).cpu().numpy().copy()
    height, width = batch.sizes[index]
    pixels[height:] = PADDING
    pixels[:, width:] = PADDING
    scales = (tile[0] / pixels.shape[1], tile[1] / pixels.shape[0])
    small = np.asarray(Image.fromarray(pixels).resize(tile, Image.Resampling.LANCZOS))
    target = target.to("cpu")
    boxes = target.boxes * target.boxes.new_tensor(scales * 2)
    return draw_boxes(small, boxes, target.labels, class_names, style=GROUND_TRUTH)


def _caption(batch: ImageBatch, index: int, target: Target) -> str:
    name = batch.ids[index] if index < len(batch.ids) else str(index)
    height, width = batch.sizes[index]
    boxes = {0: "no box", 1: "1 box"}.get(len(target.labels), f"{len(target.labels)} boxes")
    return f"{name}   {width} x {height}   {boxes}"


def _fitted(text: str, width: int) -> str:
    """The text, cut where it would leave its column."""
    font = load_font(13)
    while text and font.getlength(text) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text
