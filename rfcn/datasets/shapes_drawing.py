"""How the objects and the backgrounds of the generated set are drawn.

A form is a list of parts, a part a polygon (or a polygon with a hole) in form coordinates: the
form's long side spans -1..1, y points down. Everything is filled at four times the final scale and
averaged, so edges are smooth.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass

import cv2
import numpy as np

Random = np.random.Generator
Polygon = np.ndarray

CLASSES = (
    "card_high",
    "card_low",
    "cross",
    "lamp_bottom",
    "lamp_middle",
    "lamp_top",
    "ring",
    "star",
)
"""Sorted, as the loader finds them in the annotations."""

LIGHTS = tuple(f"lights_{row}_{side}" for row in ("bottom", "top") for side in ("left", "right"))
"""Four discs at the corners of a square, of which one shines: the same parts, arranged otherwise.
Nothing joins them, so whoever sees one disc at a time cannot tell these classes apart."""

_FINE = 4
_LIGHT = 0.24
"""Radius of a light, in form coordinates."""
_SHADOW = np.array([0.5, 0.85])
"""Where shadows fall: x, y."""


@dataclass(frozen=True)
class Part:
    """A piece of a form in one colour."""

    outlines: list[Polygon]
    """Polygons [P, 2]; what lies within two of them is a hole."""
    colour: np.ndarray
    """[3] float32, RGB 0..255."""


@dataclass(frozen=True)
class Patch:
    """A drawn object, ready to be laid on a picture."""

    colours: np.ndarray
    """[h, w, 3] float32 RGB."""
    cover: np.ndarray
    """[h, w] float32 0..1, how much of each pixel it covers."""


def draw_object(name: str, long_side: float, chance: Random) -> Patch:
    """An object of class `name`, slightly turned, in colours that tell nothing about the class."""
    angle = np.deg2rad(chance.uniform(-14, 14))
    return _draw(_parts(name, chance), long_side, angle, shaded=name not in LIGHTS)


def draw_distractor(long_side: float, chance: Random) -> Patch:
    """Something of no class, at any angle: a triangle, a disc, a bar, a hook."""
    outlines = (_regular(3), _disc(0, 0, 1), _rounded(1, 0.22, 0.2), _crescent())
    colour = _colour(chance, (0.1, 0.7), (0.3, 0.85))
    part = Part([outlines[chance.integers(len(outlines))]], colour)
    return _draw([part], long_side, chance.uniform(0, 2 * np.pi), shaded=True)


def draw_background(height: int, width: int, chance: Random) -> np.ndarray:
    """[height, width, 3] float32 RGB: two muted colours, clouds, grain and strokes."""
    ends = [_colour(chance, (0.05, 0.45), (0.25, 0.9)) for _ in range(2)]
    angle = chance.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    along = (np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y + 1.42) / 2.84
    along = (
        along + 0.35 * _clouds(height, width, 5, chance) + 0.12 * _clouds(height, width, 24, chance)
    )
    mixed = ends[0] + np.clip(along, 0, 1)[:, :, None] * (ends[1] - ends[0])
    picture = np.rint(mixed).astype(np.uint8)
    for _ in range(chance.integers(3, 9)):
        picture = _stroke(picture, chance)
    return picture + 3 * chance.standard_normal(picture.shape, dtype=np.float32)


def lay(picture: np.ndarray, patch: Patch, top: int, left: int) -> np.ndarray:
    """The picture with a patch on it and the patch's soft shadow under it. [H, W, 3] float32."""
    cover = placed(patch.cover, picture.shape[:2], top, left)
    step = max(1.5, 0.04 * max(patch.cover.shape))
    moved = np.array([[1, 0, _SHADOW[0] * step], [0, 1, _SHADOW[1] * step]])
    shadow = cv2.warpAffine(cover, moved, cover.shape[::-1])
    shadow = 0.45 * cv2.GaussianBlur(shadow, (0, 0), step)
    picture = picture * (1 - shadow * (1 - cover))[:, :, None]
    rows, columns = _window(patch, top, left)
    share = patch.cover[:, :, None]
    picture[rows, columns] += share * (patch.colours - picture[rows, columns])
    return picture


def placed(cover: np.ndarray, size: tuple[int, int], top: int, left: int) -> np.ndarray:
    """A patch's cover [h, w] within a picture of size (H, W), 0 elsewhere."""
    whole = np.zeros(size, dtype=np.float32)
    whole[top : top + cover.shape[0], left : left + cover.shape[1]] = cover
    return whole


def _window(patch: Patch, top: int, left: int) -> tuple[slice, slice]:
    height, width = patch.cover.shape
    return slice(top, top + height), slice(left, left + width)


# ----------------------------------------------------------------------------------------- forms


def _parts(name: str, chance: Random) -> list[Part]:
    """The parts of a class, back to front."""
    kind, _, where = name.partition("_")
    if kind == "lamp":
        return _lamp({"top": 0, "middle": 1, "bottom": 2}[where], chance)
    if kind == "card":
        return _card(-1 if where == "high" else 1, chance)
    if kind == "lights":
        row, _, side = where.partition("_")
        return _lights(-1 if side == "left" else 1, -1 if row == "top" else 1, chance)
    outlines = {
        "cross": [_cross(0.36)],
        "ring": [_disc(0, 0, 1), _disc(0, 0, 0.55)],
        "star": [_regular(5, inner=0.45)],
    }[name]
    return [Part(outlines, _colour(chance, (0.45, 1), (0.45, 1)))]


def _lamp(lit: int, chance: Random) -> list[Part]:
    """A body with three sockets one above the other, of which number `lit` from the top shines."""
    body = _colour(chance, (0, 0.6), (0.12, 0.3))
    light = _colour(chance, (0.25, 0.9), (0.95, 1))
    sockets = [
        Part([_disc(0, y, 0.24)], light if number == lit else 0.45 * body)
        for number, y in enumerate((-0.6, 0, 0.6))
    ]
    return [Part([_rounded(0.4, 1, 0.3)], body), *sockets]


def _card(side: int, chance: Random) -> list[Part]:
    """A card with a disc on one side (-1 up, 1 down) of its bar."""
    paper = _colour(chance, (0, 0.35), (0.85, 1))
    ink = _colour(chance, (0.4, 1), (0.2, 0.6))
    if chance.random() < 0.35:
        paper, ink = ink, paper
    bar = _rounded(0.5, 0.15, 0.1) + np.array([0, -0.52 * side])
    disc = _disc(0, 0.32 * side, 0.38)
    return [Part([_rounded(0.76, 1, 0.16)], paper), Part([bar], ink), Part([disc], ink)]


def _lights(x: int, y: int, chance: Random) -> list[Part]:
    """Four equal discs, of which the one in corner (x, y), each -1 or 1, shines."""
    away = 1 - _LIGHT
    dark = [_disc(away * a, away * b, _LIGHT) for a in (-1, 1) for b in (-1, 1)]
    lit = [_disc(away * x, away * y, _LIGHT)]
    return [
        Part(dark, _colour(chance, (0, 0.6), (0.05, 0.2))),
        Part(lit, _colour(chance, (0.1, 0.7), (0.95, 1))),
    ]


def _disc(x: float, y: float, radius: float) -> Polygon:
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def _rounded(half_width: float, half_height: float, radius: float) -> Polygon:
    """A rectangle around the origin with round corners."""
    radius = min(radius, half_width, half_height)
    corner = _disc(0, 0, radius)
    centre = np.array([half_width - radius, half_height - radius])
    return corner + np.where(corner >= -1e-9, centre, -centre)


def _regular(points: int, inner: float = 0) -> Polygon:
    """A regular polygon with one corner on top; with `inner`, a star of that inner radius."""
    corners = 2 * points if inner else points
    turn = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radius = np.where(np.arange(corners) % 2 == 0, 1, inner) if inner else 1
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def _cross(arm: float) -> Polygon:
    """A plus sign whose arms are 2 * arm wide."""
    quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([quarter @ turn.T for turn in turns])


def _crescent() -> Polygon:
    outer = _disc(0, 0, 1)[:48]
    return np.concatenate([outer, 0.7 * outer[::-1]])


# --------------------------------------------------------------------------------------- brushes


def _draw(parts: list[Part], long_side: float, angle: float, *, shaded: bool) -> Patch:
    """Parts to pixels: filled finely, given a rim, averaged, shaded, cut to what is covered.

    shaded: darker from left to right; not where that would tell where a part sits.
    """
    side = int(np.ceil(long_side * 1.5)) + 4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_pixels = (turn.T * long_side / 2, side / 2)
    back = _polygons(parts[0], *to_pixels)
    fine = np.full((side * _FINE, side * _FINE, 3), np.rint(parts[0].colour), np.uint8)
    mask = cv2.fillPoly(np.zeros(fine.shape[:2], np.uint8), back, 255)
    rim = round(_FINE * (0.04 * long_side + 1))
    cv2.polylines(fine, back, True, (0.72 * parts[0].colour).tolist(), rim)
    for part in parts[1:]:
        cv2.fillPoly(fine, _polygons(part, *to_pixels), part.colour.tolist())
    cover = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    colours = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    # Across only: shading from top to bottom would tell by brightness where a part sits.
    shade = np.linspace(1.12, 0.88, side, dtype=np.float32)[None, :, None] if shaded else 1
    rows, columns = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Patch(np.clip(colours * shade, 0, 255)[window], cover[window].astype(np.float32) / 255)


def _polygons(part: Part, matrix: np.ndarray, centre: float) -> list[np.ndarray]:
    """The outlines of a part in fine pixels, for OpenCV."""
    return [
        np.rint(_FINE * (centre + outline @ matrix)).astype(np.int32) for outline in part.outlines
    ]


def _colour(
    chance: Random, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    """[3] float32 RGB 0..255 of any hue, saturation and value within limits (0..1)."""
    rgb = hsv_to_rgb(chance.random(), chance.uniform(*saturation), chance.uniform(*value))
    return np.array(rgb, dtype=np.float32) * 255


def _clouds(height: int, width: int, cells: int, chance: Random) -> np.ndarray:
    """Smooth noise, about -1..1, with `cells` bumps along the picture."""
    coarse = chance.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _stroke(picture: np.ndarray, chance: Random) -> np.ndarray:
    """The picture, uint8, with one translucent curved stroke across it."""
    height, width = picture.shape[:2]
    ends = chance.uniform(-0.1, 1.1, (3, 2)) * (width, height)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
    points = np.rint(curve * 16).astype(np.int32)
    colour = _colour(chance, (0.1, 0.6), (0.2, 0.95)).tolist()
    opaque = picture.copy()
    cv2.polylines(opaque, [points], False, colour, int(chance.integers(1, 9)), cv2.LINE_AA, 4)
    share = chance.uniform(0.15, 0.6)
    return np.asarray(cv2.addWeighted(opaque, share, picture, 1 - share, 0))
