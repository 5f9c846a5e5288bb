"""Data sets of a few small pictures, written on the spot."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def _object(name: str, *corners: float, difficult: int | None = None) -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{box}</bndbox></object>"


@pytest.fixture
def voc_object() -> Callable[..., str]:
    """`voc_object("cat", 1, 1, 8, 8, difficult=1)` -> one <object> of an annotation."""
    return _object


@pytest.fixture
def write_voc(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data set and returns its folder.

    `write_voc({"a": [("cat", 1, 1, 8, 8)], "b": []}, size=(30, 40), sets={"train": "a\\nb\\n"})`;
    an annotation given as text is written as it is. Pictures are PNG noise named NAME.jpg, which
    decode exactly.
    """

    def write(
        pictures: dict[str, str | Sequence[Any]],
        *,
        size: tuple[int, int] = (30, 40),
        sets: dict[str, str] | None = None,
        root: Path | None = None,
    ) -> Path:
        folder = root or tmp_path / "set"
        for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for number, (name, objects) in enumerate(pictures.items()):
            height, width = size
            pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", format="PNG")
            if not isinstance(objects, str):
                inner = "".join(_object(*one) for one in objects)
                objects = f"<annotation><filename>{name}.jpg</filename>{inner}</annotation>"
            (folder / "Annotations" / f"{name}.xml").write_text(objects)
        for name, lines in (sets or {"train": "\n".join(pictures)}).items():
            (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(lines)
        return folder

    return write
