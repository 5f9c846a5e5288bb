"""A generated data set in VOC layout, drawn in seconds, for the demo and for trying things out.

Eight classes. Three are plain forms. The other five come in two families whose members differ only
in where a part sits, so that a detector without a sense of position cannot tell them apart: a
`lamp` with three equal sockets of which one shines, a `card` with its disc above or below its bar.
A mirror changes none of them, colours say nothing about the class, sizes vary threefold.

Another kind of set, `position`, has four classes that differ in nothing but where a part sits, and
parts so far from each other that a shallow network sees one of them at a time.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import cv2
import numpy as np
from tqdm import tqdm

from rfcn.datasets.shapes_drawing import (
    CLASSES,
    LIGHTS,
    Random,
    draw_background,
    draw_distractor,
    draw_object,
    lay,
    placed,
)

VERSION = 1
"""Of the drawing: a folder drawn by another version is drawn anew."""

_DIFFICULT_HIDDEN = 0.2
"""Objects hidden by more are marked difficult, and so are ..."""
_DIFFICULT_SIDE = 35.5
"""... those with a long side below this."""


@dataclass(frozen=True)
class Kind:
    """What a generated set shows."""

    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of the pictures: of one aspect lying and one standing, so that batches need
    no padding."""
    objects: tuple[int, int]
    """Fewest and most in a picture."""
    long_side: tuple[float, float]
    """Shortest and longest of an object, in pixels; all ratios between are as likely."""
    margin: int = 2
    """Pixels between an object and the edge of the picture."""
    most_hidden: float = 0.3
    """Share of an object that those in front of it may hide."""
    apart: int | None = None
    """Pixels between the boxes of two objects; None where they may lie on each other."""


SHAPES = Kind(
    classes=CLASSES,
    sizes=((192, 256), (216, 288), (240, 320), (256, 192), (288, 216), (320, 240)),
    objects=(2, 7),
    long_side=(34.0, 102.0),
)
"""That of the demo."""

POSITION = Kind(
    classes=LIGHTS,
    sizes=((160, 208), (208, 160)),
    objects=(1, 4),
    long_side=(48.0, 72.0),
    margin=16,
    apart=16,
)
"""Classes that are told apart by position alone, at this size of the pictures: two lights of an
object, of two objects, or a light and the edge of the picture never lie in one window of 15 x 15
pixels, which is what a cell of the tiny backbone's conv2 sees. A mirror changes the class: train
without."""

KINDS = {"shapes": SHAPES, "position": POSITION}


def make_shapes(
    folder: str | Path, *, train: int = 500, val: int = 120, seed: int = 0, kind: str = "shapes"
) -> Path:
    """Write the sets `train` and `val`, of so many pictures, below `folder`, and return it.

    The same arguments give the same files. Nothing is done when they are there already, which
    `shapes.json`, written last, attests. kind: of `KINDS`.
    """
    folder = Path(folder)
    settings: dict[str, int | str] = {"version": VERSION, "train": train, "val": val, "seed": seed}
    if kind != "shapes":
        settings["kind"] = kind
    manifest = folder / "shapes.json"
    if manifest.is_file() and manifest.read_text(encoding="utf-8") == json.dumps(settings):
        return folder
    manifest.unlink(missing_ok=True)
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_set(folder, "train", range(train), seed, KINDS[kind])
    _write_set(folder, "val", range(train, train + val), seed, KINDS[kind])
    manifest.write_text(json.dumps(settings), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Shape:
    """One drawn object."""

    name: str
    box: tuple[int, int, int, int]
    """x1, y1, x2, y2, half-open: the pixels it covers at least half, hidden ones included."""
    difficult: bool


@dataclass(frozen=True)
class Scene:
    """A drawn picture."""

    image: np.ndarray
    """[H, W, 3] uint8 RGB."""
    shapes: list[Shape]


def draw_scene(chance: Random, kind: Kind = SHAPES) -> Scene:
    """A picture of some objects before clutter, decided by the random generator alone."""
    size = kind.sizes[chance.integers(len(kind.sizes))]
    picture = draw_background(*size, chance)
    for _ in range(chance.integers(2, 7)):
        patch = draw_distractor(chance.uniform(10, 40), chance)
        place = _somewhere(patch.cover.shape, size, SHAPES.margin, chance)
        picture = lay(picture, patch, *place)
    names: list[str] = []
    covers: list[np.ndarray] = []
    fewest, most = kind.objects
    wanted = chance.integers(fewest, most + 1)
    for _ in range(4 * wanted):
        name = kind.classes[chance.integers(len(kind.classes))]
        patch = draw_object(name, _log_uniform(kind.long_side, chance), chance)
        place = _somewhere(patch.cover.shape, size, kind.margin, chance)
        cover = placed(patch.cover, size, *place)
        if max(_hidden([*covers, cover])) > kind.most_hidden or (
            kind.apart is not None and any(_near(cover, other, kind.apart) for other in covers)
        ):
            continue
        picture = lay(picture, patch, *place)
        names.append(name)
        covers.append(cover)
        if len(names) == wanted:
            break
    shapes = [_shape(*one) for one in zip(names, covers, _hidden(covers), strict=True)]
    return Scene(np.clip(np.rint(picture), 0, 255).astype(np.uint8), shapes)


def _somewhere(
    part: tuple[int, ...], whole: tuple[int, int], margin: int, chance: Random
) -> tuple[int, int]:
    """(top, left) of a patch that lies within a picture, `margin` pixels from its edge."""
    top, left = (
        int(chance.integers(margin, outer - inner - margin + 1))
        for inner, outer in zip(part, whole, strict=True)
    )
    return top, left


def _log_uniform(limits: tuple[float, float], chance: Random) -> float:
    return float(np.exp(chance.uniform(*np.log(limits))))


def _box(cover: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2, half-open, of the pixels that are covered at least half."""
    rows, columns = (np.flatnonzero((cover >= 0.5).any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _near(one: np.ndarray, other: np.ndarray, apart: int) -> bool:
    """Whether fewer than so many pixels lie between the boxes of two covers."""
    a, b = _box(one), _box(other)
    gaps = [max(a[i], b[i]) - min(a[i + 2], b[i + 2]) for i in (0, 1)]
    return max(gaps) < apart


def _hidden(covers: list[np.ndarray]) -> list[float]:
    """The share of each object that later ones hide."""
    shares = []
    front = np.zeros_like(covers[0])
    for cover in reversed(covers):
        shares.append(float((cover * front).sum() / cover.sum()))
        front = np.maximum(front, cover)
    return shares[::-1]


def _shape(name: str, cover: np.ndarray, hidden: float) -> Shape:
    x1, y1, x2, y2 = _box(cover)
    small = max(x2 - x1, y2 - y1) < _DIFFICULT_SIDE
    return Shape(name, (x1, y1, x2, y2), bool(small or hidden > _DIFFICULT_HIDDEN))


def _write_set(folder: Path, name: str, numbers: Iterable[int], seed: int, kind: Kind) -> None:
    ids = [f"{number:06d}" for number in numbers]
    for id_ in tqdm(ids, f"Drawing {name} pictures", leave=False, disable=None):
        scene = draw_scene(np.random.default_rng((seed, int(id_))), kind)
        picture = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
        file = folder / "JPEGImages" / f"{id_}.jpg"
        cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, 93])
        annotation = _annotation(file.name, scene)
        annotation.write(folder / "Annotations" / f"{id_}.xml", encoding="unicode")
    lines = "".join(f"{id_}\n" for id_ in ids)
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(lines, encoding="utf-8")


def _annotation(filename: str, scene: Scene) -> ElementTree:
    """VOC's XML: corners count from 1 and include the last pixel, so only x1 and y1 change."""
    root = Element("annotation")
    SubElement(root, "filename").text = filename
    height, width, depth = scene.image.shape
    _add(root, "size", {"width": width, "height": height, "depth": depth})
    for shape in scene.shapes:
        item = _add(root, "object", {"name": shape.name, "difficult": int(shape.difficult)})
        x1, y1, x2, y2 = shape.box
        _add(item, "bndbox", {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2})
    indent(root)
    return ElementTree(root)


def _add(parent: Element, tag: str, leaves: dict[str, str | int]) -> Element:
    child = SubElement(parent, tag)
    for key, value in leaves.items():
        SubElement(child, key).text = str(value)
    return child
