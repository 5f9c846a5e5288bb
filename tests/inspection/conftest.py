"""A data set with one fault of every row of the table of faults, and what must be said of each."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.inspection.check import check_data
from rfcn.inspection.report import Report

HEIGHT, WIDTH = 60, 80


@dataclass(frozen=True)
class Planted:
    """A data set, and the kinds of cases that each picture must lead to, by the picture's name."""

    config: Config
    expected: dict[str, set[str]]


def scene(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image.Image:
    """A picture that is like no other."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def gigapixels() -> bytes:
    """The start of a PNG that claims 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(
        ">I", zlib.crc32(header)
    )  # fmt: skip


def _jpeg(path: Path, picture: Image.Image) -> None:
    picture.save(path, format="JPEG", quality=95)


def _cut(path: Path, picture: Image.Image) -> None:
    _jpeg(path, picture)
    path.write_bytes(path.read_bytes()[:-400])


def _flipped(path: Path, picture: Image.Image) -> None:
    picture.save(path, format="PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _turned(path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    picture.save(path, format="JPEG", exif=exif)


PICTURES: dict[str, tuple[Callable[[Path, Image.Image], object], set[str]]] = {
    "I1_empty": (lambda path, _: path.write_bytes(b""), {"unread"}),
    "I1_text": (lambda path, _: path.write_text("no picture"), {"unread"}),
    "I2": (_cut, {"picture"}),
    "I3": (_flipped, {"picture"}),
    "I4": (lambda path, picture: picture.save(path, format="PNG"), {"remark"}),
    "I5": (lambda path, picture: picture.convert("CMYK").save(path, format="JPEG"), {"remark"}),
    "I7": (_turned, {"turned"}),
    "I8": (lambda path, picture: _jpeg(path, picture.resize((1000, 2))), {"thin"}),
    "I9": (lambda path, _: path.write_bytes(gigapixels()), {"unread"}),
    "I10 ü space": (_jpeg, set()),
}
"""How the picture of a row is written, and what is said of it; `unread`: by the reader, whose kind
depends on the format."""


@pytest.fixture
def report_of() -> Callable[[Config], Report]:
    """The report on a config, in this process."""
    return lambda config: check_data(config, workers=0)


@pytest.fixture
def voc_config() -> Callable[..., Config]:
    """`voc_config(root, train="train", ...)`: the settings of a small data set, other keys go to
    its section `data`."""

    def make(root: Path, **data: object) -> Config:
        section = {"root": str(root), "train": "train", "val": "val", **data}
        sides = {"train_short_sides": [60], "test_short_side": 60, "max_long_side": 100}
        return config_from_mapping(
            {
                "model": {
                    "backbone": {"type": "tiny", "width": 8, "stride": 8},
                    "proposer": {"anchors": {"base_size": 8, "scales": [2, 4]}},
                },
                "data": {**sides, **section},
            }
        )

    return make


# --------------------------------------------------------------------------------------------- VOC


def voc_object(name: str = "cat", box: object = (10, 10, 40, 40), more: str = "") -> str:
    """One <object>."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)  # type: ignore[call-overload]
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>"


def voc_file(*objects: str, size: tuple[int, int] | None = None, root: str = "annotation") -> str:
    """One annotation."""
    claim = (
        "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    )
    return f"<{root}>{claim}{''.join(objects)}</{root}>"


GOOD = voc_object()
VOC_FILES: dict[str, tuple[str | bytes | None, set[str]]] = {
    "V4": (voc_file(GOOD), set()),
    "V5": (None, {"no annotation"}),
    "V6": (voc_file(GOOD)[:-20], {"broken"}),
    "V7": (voc_file(voc_object("ä")).encode("latin-1"), {"broken"}),
    "V8": ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + voc_file(GOOD), {"broken"}),
    "V9": (voc_file(GOOD, root="Annotation"), set()),
    "V10": (voc_file(GOOD), set()),
    "V11_name": (voc_file("<object><bndbox/></object>", GOOD), {"broken"}),
    "V11_box": (voc_file("<object><name>cat</name></object>", GOOD), {"broken"}),
    "V11_comma": (voc_file(voc_object(box=("1,5", 1, 9, 9)), GOOD), {"broken"}),
    "V12": (voc_file(voc_object(box=(10.5, 10.25, 40, 40))), set()),
    "V13": (voc_file(voc_object(box=(40, 10, 20, 40)), GOOD), {"bad"}),
    "V14": (voc_file(voc_object(box=(20, 10, 20, 40)), GOOD), {"bad"}),
    "V15": (voc_file(voc_object(box=(60, 40, 95, 70))), {"cut"}),
    "V16": (voc_file(voc_object(box=(0, 0, 40, 40))), {"zero"}),
    "V17": (voc_file(GOOD, size=(HEIGHT + 1, WIDTH)), {"size"}),
    "V17_turned": (voc_file(GOOD, size=(WIDTH, HEIGHT)), {"transposed"}),
    "V18": (voc_file(voc_object("Cat "), GOOD), {"unknown"}),
    "V19": (voc_file(GOOD), {"no picture"}),
    "V20": (voc_file(GOOD).replace("<object>", "<filename>../../../x.jpg</filename><object>", 1),
            {"broken"}),
    "V21": (voc_file(), {"no box"}),
    "V22": (voc_file(voc_object(more="<difficult>1</difficult>")), {"difficult"}),
    "V23": (voc_file(GOOD.replace("</object>", "<part><name>head</name><bndbox><xmin>1</xmin>"
                                  "</bndbox></part></object>")), set()),
    "V24": (voc_file(*(voc_object(box=(1 + n % 60, 1 + n // 60, 15 + n % 60, 15 + n // 60))
                       for n in range(2000))), set()),
    "K18": (voc_file(GOOD, GOOD), {"twice"}),
    "K18_names": (voc_file(GOOD, voc_object("dog")), {"two names"}),
    "K19": (voc_file(GOOD), set()),
    "twin": (voc_file(GOOD), set()),
}  # fmt: skip


@pytest.fixture
def planted_voc(tmp_path: Path, voc_config: Callable[..., Config]) -> Planted:
    """VOC files of every row."""
    root = tmp_path / "voc"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / part).mkdir(parents=True)
    thin = voc_object(box=(1, 1, 40, 2))
    files = dict(VOC_FILES)
    for name, (_, kinds) in PICTURES.items():
        files[name] = (voc_file(thin if name == "I8" else GOOD), kinds)
    for number, (name, (content, _)) in enumerate(files.items()):
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (root / "Annotations" / f"{name}.xml").write_bytes(raw)
        write = PICTURES[name][0] if name in PICTURES else _jpeg
        if name not in ("V19", "V20"):
            write(root / "JPEGImages" / f"{name}.jpg", scene(number))
    again = {"leaked": "K19", "twin_again": "twin"}
    for copy, original in again.items():
        picture = Image.open(root / "JPEGImages" / f"{original}.jpg")
        picture.save(root / "JPEGImages" / f"{copy}.png")
        (root / "Annotations" / f"{copy}.xml").write_text(
            voc_file(GOOD, voc_object("dog", (5, 5, 9, 9)))
        )
    lines = [*files, "V4", "twin_again"]  # V3: CRLF, blank lines, a second column
    (root / "ImageSets/Main/train.txt").write_text(
        "\r\n\r\n".join(lines[:-1]) + "\r\ntwin_again 1\r\n"
    )
    (root / "ImageSets/Main/val.txt").write_text("leaked")
    expected = {
        name: {"broken" if kind == "unread" else kind for kind in kinds}
        for name, (_, kinds) in files.items()
    }
    expected |= {"train.txt": {"repeated"}, "leaked": {"leak"}, "twin_again": {"twin"}}
    return Planted(voc_config(root, classes=["cat", "dog", "eel"]), expected)


# -------------------------------------------------------------------------------------------- COCO


CATEGORIES = [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 17, "name": "eel"}]  # K3
BOX = [10, 10, 30, 30]


def annotation(**other: Any) -> dict[str, Any]:
    """One that is in order, but for what is given; a key that is None is left out."""
    whole = {"category_id": 90, "bbox": BOX, "area": 900, "iscrowd": 0, **other}
    return {key: value for key, value in whole.items() if value is not None}


COCO_ROWS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "K3": ([annotation(), annotation(category_id=3, bbox=[1, 1, 9, 9])], []),
    "K6_picture": ([annotation(image_id=999), annotation()], ["orphan"]),
    "K6_category": ([annotation(category_id=5), annotation()], ["orphan"]),
    "K9_three": ([annotation(bbox=[1, 2, 3]), annotation()], ["annotation"]),
    "K9_words": ([annotation(bbox=["1", 2, 3, 4]), annotation()], ["annotation"]),
    "K9_nan": ([annotation(bbox=[float("nan"), 2, 3, 4]), annotation()], ["bad"]),
    "K9_negative": ([annotation(bbox=[20, 20, -3, 4]), annotation()], ["bad"]),
    "K9_zero": ([annotation(bbox=[20, 20, 0, 4]), annotation()], ["bad"]),
    "K9_outside": ([annotation(bbox=[60, 40, 30, 30])], ["cut"]),
    "K11": ([annotation(area=None, iscrowd=None)], ["no area"]),
    "K12": ([annotation(bbox=[1, 1, 70, 50], iscrowd=1), annotation()], ["crowd"]),
    "K17": ([annotation(bbox=None, segmentation=[[10, 10, 40, 10, 40, 40]])], ["outline"]),
    "K17_mask": (
        [annotation(bbox=None, segmentation={"counts": "x", "size": [9, 9]}), annotation()],
        ["annotation"],
    ),
    "K18": ([annotation(), annotation()], ["twice"]),
    "V21": ([], ["no box"]),
    "V22": ([annotation(iscrowd=1)], ["crowd", "difficult"]),
}
"""The annotations of the picture of a row, and what is said of them and of it."""


@dataclass(frozen=True)
class PlantedCOCO:
    """A data set, and (kind, object or name of the picture) of every case that it must lead to."""

    config: Config
    expected: list[tuple[str, str]]


class _Writer:
    """Collects the records of one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.expected: list[tuple[str, str]] = []

    def picture(self, name: str, rows: list[dict[str, Any]], write: Any = _jpeg) -> None:
        """A picture with its annotations, and sizes that are right."""
        number = len(self.images) + 1
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, scene(100 + number))
        size = {"height": HEIGHT, "width": WIDTH} if "I8" not in name else {}
        self.images.append({"id": number, "file_name": name, **size})
        for row in rows:
            id_ = len(self.annotations) + 1
            self.annotations.append({"image_id": number, "id": id_, **row})

    def expect(self, kind: str, place: object) -> None:
        self.expected.append((kind, str(place)))


SEEN = {"no box", "difficult", "twice", "picture", "remark", "turned", "thin"}
"""Kinds that name the picture; others name the annotation."""


@pytest.fixture
def planted_coco(tmp_path: Path, voc_config: Callable[..., Config]) -> PlantedCOCO:
    """A COCO file with a fault of every row."""
    root = tmp_path / "coco"
    all_of = _Writer(root / "train")
    for name, (rows, kinds) in COCO_ROWS.items():
        first = len(all_of.annotations) + 1
        all_of.picture(f"{name}.jpg", rows)
        for kind in kinds:
            all_of.expect(kind, f"{name}.jpg" if kind in SEEN else first)
    for name, (write, kinds) in PICTURES.items():
        thin = {"bbox": [0, 0, 40, 2]} if name == "I8" else {}
        all_of.picture(f"{name}.jpg", [annotation(**thin)], write)
        for kind in kinds:
            unread = kind == "unread"
            all_of.expect(
                "broken" if unread else kind, len(all_of.images) if unread else f"{name}.jpg"
            )
    _plant_pictures(all_of)
    categories = [*CATEGORIES, {"id": 90, "name": "fox"}, {"id": 91, "name": "cat"}]  # K4
    all_of.expect("category", 3)
    all_of.expect("category", 4)
    train = {"images": all_of.images, "annotations": all_of.annotations, "categories": categories}
    _plant_val(all_of, root, train)
    return PlantedCOCO(voc_config(root, format="coco"), all_of.expected)


def _plant_pictures(all_of: _Writer) -> None:
    """Rows about the records of pictures and the ids of annotations."""
    all_of.picture("sub folder/K13 ü.jpg", [annotation()])
    all_of.picture("K14.jpg", [annotation()])
    all_of.images[-1]["height"] += 1
    all_of.expect("size", len(all_of.images))
    all_of.picture("K14_turned.jpg", [annotation()])
    all_of.images[-1].update(height=WIDTH, width=HEIGHT)
    all_of.expect("transposed", len(all_of.images))
    all_of.picture("K16.jpg", [annotation(image_id="K16")])
    all_of.images[-1]["id"] = "K16"
    for name in ("../../K13.jpg", "http://host/K13.jpg"):
        all_of.images.append({"id": len(all_of.images) + 1, "file_name": name})
        all_of.expect("outside", len(all_of.images))
    all_of.images.append({"id": len(all_of.images) + 1, "file_name": "V19.jpg"})
    all_of.expect("no picture", len(all_of.images))
    all_of.images += [{"id": 1, "file_name": "new.jpg"}, {"id": 998, "file_name": "K3.jpg"}]  # K8
    all_of.expect("listing", len(all_of.images) - 2)
    all_of.expect("listing", len(all_of.images) - 1)
    all_of.picture("K7.jpg", [annotation(bbox=[n, n, 30, 30]) for n in (1, 9, 17)])
    free = len(all_of.annotations) + 1
    for place, id_ in enumerate((0, 1)):
        all_of.annotations[-1 - place]["id"] = id_
    for number in (free - 2, free - 1):
        all_of.expect("renumbered", number)


def _plant_val(all_of: _Writer, root: Path, train: dict[str, Any]) -> None:
    """K5 and K19: other categories, and a picture of train; and the files themselves."""
    val = _Writer(root / "val")
    val.picture(
        "other.jpg", [annotation(category_id=1), annotation(category_id=2, bbox=[1, 1, 9, 9])]
    )
    val.picture("leaked.jpg", [annotation(category_id=1)])
    (root / "val" / "leaked.jpg").write_bytes((root / "train" / "K3.jpg").read_bytes())
    scene(999).save(root / "val" / "other.jpg")
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "bird"}]
    all_of.expect("unknown", 2)
    all_of.expect("leak", "leaked.jpg")
    for name in ("dog", "eel"):
        all_of.expect("no category", name)
        all_of.expect("not measured", name)
    all_of.expect("not trained", "eel")
    (root / "annotations").mkdir()
    files = {"train": train, "val": {**val.__dict__, "folder": "", "categories": categories}}
    for name, content in files.items():
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
