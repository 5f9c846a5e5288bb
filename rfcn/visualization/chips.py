"""Names on chips of colour, placed inside the picture and clear of each other."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rfcn.visualization.colours import RGB, text_colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels, half-open."""

LEAST_SIZE = 10
"""Below so many pixels letters cannot be read."""
SMOOTHING = 4
"""The rounded corners are drawn so many times larger and shrunk."""


@cache
def load_font(size: int) -> Font:
    """DejaVu Sans, which comes with matplotlib; Pillow's own font where that is missing."""
    package = importlib.util.find_spec("matplotlib")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:
            pass  # Stripped installations lack the file; Pillow's font has fewer letters.
    return ImageFont.load_default(size)


def font_size(width: int, height: int) -> int:
    """Letters that can be read when a picture of this size is looked at as a whole, in pixels."""
    return max(LEAST_SIZE, round(0.022 * (width * height) ** 0.5))


@dataclass(frozen=True)
class Chip:
    """A name to be written beside a box."""

    text: str
    colour: RGB
    box: Box


def draw_chips(canvas: Image.Image, chips: list[Chip]) -> None:
    """Writes the names on `canvas`, the last one first choosing its place.

    A name that does not fit into the picture at all is left out: the box says where, and a chip
    cut in half would say nothing.
    """
    font = load_font(font_size(*canvas.size))
    taken: list[Box] = []
    for chip in reversed(chips):
        text = " ".join(chip.text.split())
        place = _place(chip.box, _size(text, font), canvas.size, taken)
        if place is not None:
            taken.append(place)
            _draw_chip(canvas, text, chip.colour, place, font)


def _size(text: str, font: Font) -> tuple[int, int]:
    """Width and height of a chip: the height is that of all letters, so that chips are alike."""
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ágjy")
    pad = _padding(font)
    return round(right - left) + 2 * pad + pad // 2, round(bottom - top) + pad


def _padding(font: Font) -> int:
    _, top, _, bottom = font.getbbox("H")
    return max(2, round((bottom - top) * 0.45))


def _place(
    box: Box, size: tuple[int, int], picture: tuple[int, int], taken: list[Box]
) -> Box | None:
    """The first place without a clash; failing that, the usual one."""
    if size[0] > picture[0] or size[1] > picture[1]:
        return None
    places = list(_candidates(box, size, picture))
    free = (place for place in places if not any(_meet(place, other) for other in taken))
    return next(free, places[0])


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _candidates(box: Box, size: tuple[int, int], picture: tuple[int, int]) -> Iterator[Box]:
    """Above, inside at the top, below, inside at the bottom; flush left, then flush right."""
    x1, y1, x2, y2 = box
    width, height = size
    for y in (y1 - height, y1, y2, y2 - height):
        for x in (x1, x2 - width):
            if 0 <= y <= picture[1] - height:
                left = min(max(x, 0), picture[0] - width)
                yield left, y, left + width, y + height
    y = min(max(y1, 0), picture[1] - height)
    left = min(max(x1, 0), picture[0] - width)
    yield left, y, left + width, y + height


def _draw_chip(canvas: Image.Image, text: str, colour: RGB, place: Box, font: Font) -> None:
    x1, y1, x2, y2 = place
    width, height = x2 - x1, y2 - y1
    mask = Image.new("L", (width * SMOOTHING, height * SMOOTHING))
    radius = round(0.22 * height * SMOOTHING)
    corners = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(corners, radius, fill=255)
    canvas.paste(colour, place, mask.resize((width, height), Image.Resampling.BOX))
    pen = ImageDraw.Draw(canvas)
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("H")
    x = x1 + (width - (right - left)) / 2 - left
    y = y1 + (height - (bottom - top)) / 2 - top
    pen.text((x, y), text, fill=text_colour(colour), font=font)
