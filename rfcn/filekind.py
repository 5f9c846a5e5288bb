"""Says in words what a file really is, whatever its name, from its first bytes; reads JSON within
limits."""

import json
import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import error as StructError
from typing import Any

MOST_JSON_BYTES = 4_000_000_000
"""Of a file; COCO's own has 470 million, and reading takes several times as much memory."""
LFS = b"version https://git-lfs.github.com/spec"


def kind_of(path: Path) -> str:
    """One of: missing, a folder, an empty file, a Git LFS pointer, an HTML page, a PyTorch file,
    a zip archive, a pickle, a safetensors file, a text file, a file of unknown kind.

    A damaged file is called by the kind it started as.
    """
    if not path.exists():
        return "missing"
    if path.is_dir():
        return "a folder"
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "an empty file"
    if head.startswith(LFS):
        return "a Git LFS pointer"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if head.startswith(b"PK"):
        return "a PyTorch file" if _holds_pickle(path, head) else "a zip archive"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
        return "a safetensors file"
    return "a text file" if _is_text(head) else "a file of unknown kind"


def remedy_for(kind: str) -> str:
    """What to do about a file of that kind where weights were expected; may be empty."""
    return {
        "missing": "Check the path.",
        "an empty file": "Copy or download it again.",
        "a Git LFS pointer": "Fetch the real file with `git lfs pull`.",
        "an HTML page": "The download returned a web page: fetch the file itself.",
    }.get(kind, "")


def read_json(path: Path) -> Any:
    """What a file of JSON holds, which is only begun when it is not too large.

    Raises:
        ValueError: it is too large, nested too deeply, not UTF-8 or not JSON. OSError: it cannot be
            read.
    """
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise ValueError(
            f"it has {size / 1e9:.1f} GB, and JSON of more than {MOST_JSON_BYTES / 1e9:.0f} is not "
            "read; split it"
        )
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


PROGRAMS = (
    ("Ultralytics", ("ultralytics.", "models.yolo")),
    ("Detectron2", ("detectron2", "Detectron2", "proposal_generator.", "roi_heads.box_head.")),
    ("MMDetection", ("mmdet", "mmengine", "mmcv", "mmengine_version", "bbox_head.")),
    ("torchvision's detectors", ("backbone.body.", "roi_heads.box_predictor.")),
    ("torchvision's classifiers", ("fc.weight", "classifier.0.weight", "classifier.1.weight")),
    ("Detectron", ("blobs",)),
)
"""Other programs, and how names of keys or classes in their files begin; the first that fits."""
CONVERTER = "`rfcn import-weights` turns it into weights of this program (docs/importing.md)."


def origin_of(path: Path) -> str:
    """What is known of where a file with weights comes from, and what to do: a sentence, or "".

    Pickles, and those in PyTorch files, are read as text: nothing in them is executed.
    """
    if path.suffix == ".caffemodel":
        return f"Caffe wrote it. {CONVERTER}"
    try:
        names = set(_names_in(path))
    except (OSError, ValueError, IndexError, zipfile.BadZipFile, StructError):
        return ""
    known = (
        program
        for program, beginnings in PROGRAMS
        if any(name.startswith(beginnings) for name in names)
    )
    program = next(known, "")
    if not program:
        return ""
    if "classifiers" in program:
        return f"It is of {program}: a backbone to start from, for model.backbone.weights."
    if program in ("torchvision's detectors", "Detectron2", "Detectron"):
        return (
            f"{program} wrote it, whose layers are not those of a detector here: "
            "`rfcn import-weights` makes a backbone of it (docs/importing.md)."
        )
    return (
        f"{program} wrote it, whose layers are not those of a detector here: there is no "
        "converter. Train one from a backbone (model.backbone.weights)."
    )


def _names_in(path: Path) -> Iterator[str]:
    """Every text in the pickles of a file: keys, and modules of classes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = b"".join(
                archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")
            )
    else:
        content = path.read_bytes()
    file = BytesIO(content)
    while file.tell() < len(content) and content[file.tell()] == 0x80:  # one after another
        yield from (word for _, word, _ in pickletools.genops(file) if isinstance(word, str))


def _holds_pickle(path: Path, head: bytes) -> bool:
    """Whether a zip archive is one that torch.save wrote; a cut one is judged by its first name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return b"/data.pkl" in head


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
    return b"\0" not in head
