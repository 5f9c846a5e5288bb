"""Data sets of a few small pictures, written on the spot."""

import json
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


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """Writes a set of pictures of 40 x 30 pixels and returns the root.

    `write_coco({5: [(3, 1, 2, 10, 20)], 9: []})`: picture 5 has an object of category 3, which is
    "cat", as 7 is "dog"; a fifth number makes it a crowd. `changes` replace parts of the file.
    """

    def write(
        pictures: dict[int, list[Any]], *, name: str = "train2017", folder: str = "", **changes: Any
    ) -> Path:
        for part in ("annotations", folder or name):
            (tmp_path / part).mkdir(exist_ok=True, parents=True)
        images, annotations = [], []
        for number, objects in pictures.items():
            file = f"{number:012d}.jpg"
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / (folder or name) / file, format="PNG")
            images.append({"id": number, "file_name": file, "height": 30, "width": 40})
            for category, *box in objects:
                one = {"id": 100 + len(annotations), "image_id": number, "category_id": category}
                crowd, area = int(len(box) > 4), abs(box[2] * box[3])
                annotations.append({**one, "bbox": box[:4], "area": area, "iscrowd": crowd})
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = tmp_path / "annotations" / f"instances_{name}.json"
        path.write_text(json.dumps({**content, **changes}))
        return tmp_path

    return write


@pytest.fixture
def write_yolo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a set of pictures of 40 x 30 pixels and returns the root.

    `write_yolo({"a": "0 0.5 0.5 0.1 0.2", "b": None}, "train")`: b has no file of labels. names:
    text of data.yaml, or None to leave it out.
    """

    def write(
        pictures: dict[str, str | None],
        name: str = "train",
        *,
        names: str | None = "names: [cat, dog]",
        folders: tuple[str, str] = ("images/{}", "labels/{}"),
    ) -> Path:
        images, labels = (tmp_path / folder.format(name) for folder in folders)
        for number, (picture, lines) in enumerate(pictures.items()):
            path = images / f"{picture}.jpg"
            for parent in (path.parent, (labels / picture).parent):
                parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(path, format="PNG")
            if lines is not None:
                (labels / f"{picture}.txt").write_text(lines)
        if names is not None:
            (tmp_path / "data.yaml").write_text(names)
        return tmp_path

    return write
