"""What was found, as data sets in the layouts of VOC, COCO and YOLO: to be corrected by hand, to be
trained on, to be read by other programs. Each is a folder that `rfcn check-data` reads.

Pictures lie beside their labels: files are copied as they are, frames of films written as JPEG.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from rfcn.datasets.image import EXTENSIONS
from rfcn.inference.frames import Frame
from rfcn.inference.results import Detection, NamedDetections
from rfcn.visualization.files import write_image

SET = "detections"
"""The name of the set in each layout."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def copy_picture(frame: Frame, folder: Path) -> str:
    """Put the picture into a folder under its own name; -> that name with its suffix."""
    if isinstance(frame.source, Path) and frame.source.suffix.lower() in EXTENSIONS:
        name = f"{frame.stem}{frame.source.suffix.lower()}"
        shutil.copyfile(frame.source, folder / name)
        return name
    write_image(folder / f"{frame.stem}.jpg", frame.image)
    return f"{frame.stem}.jpg"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class VOCWriter:
    """Annotations/STEM.xml, JPEGImages/STEM.jpg and ImageSets/Main/detections.txt.

    Corners are whole pixels, counted from 1, the last inside of the box, as VOC's tools
    read them.
    """

    def __init__(self, folder: Path) -> None:
        self._annotations = _made(folder / "Annotations")
        self._pictures = _made(folder / "JPEGImages")
        self._list = (_made(folder / "ImageSets" / "Main") / f"{SET}.txt").open(
            "w", encoding="utf-8"
        )

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """One annotation."""
        height, width = found.size
        root = ElementTree.Element("annotation")
        _add(root, filename=copy_picture(frame, self._pictures))
        _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        for one in found:
            item = ElementTree.SubElement(root, "object")
            _add(item, name=one.name, difficult=0)
            corners = zip(CORNERS, _voc(one, width, height), strict=True)
            _add(ElementTree.SubElement(item, "bndbox"), **dict(corners))
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        (self._annotations / f"{frame.stem}.xml").write_text(text + "\n", encoding="utf-8")
        self._list.write(f"{frame.stem}\n")

    def close(self) -> None:
        """Close the list."""
        self._list.close()


def _add(element: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(element, tag).text = str(text)


def _voc(one: Detection, width: int, height: int) -> tuple[int, int, int, int]:
    """(xmin, ymin, xmax, ymax), from 1: with xmin = xmax a box would count as one without area."""
    x1, y1, x2, y2 = one.box
    left, right = _whole(x1, x2, width)
    top, bottom = _whole(y1, y2, height)
    return left + 1, top + 1, right, bottom


def _whole(low: float, high: float, side: int) -> tuple[int, int]:
    """The stretch on whole pixels, at least two of them where there are so many."""
    start, end = round(low), round(high)
    start = max(0, min(start, side - 2))
    return start, min(max(end, start + 2), side)


class YOLOWriter:
    """images/detections/STEM.jpg, labels/detections/STEM.txt and data.yaml with the names."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._pictures = _made(folder / "images" / SET)
        self._labels = _made(folder / "labels" / SET)
        place = f"images/{SET}"
        facts = {"train": place, "val": place, "names": dict(enumerate(class_names))}
        text = yaml.safe_dump(facts, allow_unicode=True, sort_keys=False)
        (folder / "data.yaml").write_text(text, encoding="utf-8")

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """One file of labels: class from 0, centre, width and height as fractions."""
        copy_picture(frame, self._pictures)
        height, width = found.size
        lines = [
            f"{one.label - 1} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
            f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
            for one in found
            for x1, y1, x2, y2 in [one.box]
        ]
        (self._labels / f"{frame.stem}.txt").write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Nothing is left to do."""


class COCOWriter:
    """annotations/instances_detections.json with a `score` in each annotation, the pictures in
    detections/; and results.json, the same as COCO's list of results."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self._pictures = _made(folder / SET)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [{"id": n, "name": name} for n, name in enumerate(class_names, 1)]

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """One image and its annotations."""
        height, width = found.size
        id_ = len(self._images) + 1
        name = copy_picture(frame, self._pictures)
        self._images.append({"id": id_, "file_name": name, "width": width, "height": height})
        for one in found:
            x1, y1, x2, y2 = one.box
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": id_,
                    "category_id": one.label,
                    "bbox": [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 3),
                    "iscrowd": 0,
                    "score": round(one.score, 6),
                }
            )

    def close(self) -> None:
        """Write both files."""
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories,
        }
        wanted = ("image_id", "category_id", "bbox", "score")
        results = [{name: one[name] for name in wanted} for one in self._annotations]
        _write(_made(self.folder / "annotations") / f"instances_{SET}.json", content)
        _write(self.folder / "results.json", results)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
