"""Archives with a few tiny pictures, laid out inside as the published ones are."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping

from PIL import Image

ANNOTATION = b"""<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def picture(shade: int) -> bytes:
    """A JPEG of 8 x 6 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _zip(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return out.getvalue()


def _voc(part: str, names: list[str]) -> bytes:
    base = "VOCdevkit/VOC2007"
    files = {f"{base}/ImageSets/Main/{part}.txt": "\n".join(names).encode()}
    for shade, name in enumerate(names):
        files[f"{base}/Annotations/{name}.xml"] = ANNOTATION
        files[f"{base}/JPEGImages/{name}.jpg"] = picture(shade)
    return _tar(files)


def voc2007() -> dict[str, bytes]:
    """Two pictures of trainval, one of test, by the names of the archives."""
    return {
        "VOCtrainval_06-Nov-2007.tar": _voc("trainval", ["000005", "000007"]),
        "VOCtest_06-Nov-2007.tar": _voc("test", ["000001"]),
    }


def _instances(numbers: list[int]) -> bytes:
    content = {
        "images": [
            {"id": n, "file_name": f"{n:012}.jpg", "height": 6, "width": 8} for n in numbers
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16,
             "iscrowd": 0}
            for n in numbers
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    return json.dumps(content).encode()


def coco2017() -> dict[str, bytes]:
    """Two pictures of train, one of val, by the names of the archives."""
    sets = {"train2017": [9, 25], "val2017": [139]}
    archives = {
        f"{name}.zip": _zip({f"{name}/{n:012}.jpg": picture(n) for n in numbers})
        for name, numbers in sets.items()
    }
    archives["annotations_trainval2017.zip"] = _zip(
        {
            f"annotations/instances_{name}.json": _instances(numbers)
            for name, numbers in sets.items()
        }
    )
    return archives
