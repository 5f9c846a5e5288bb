"""Files of proposals that other programs wrote: MATLAB's .mat, numpy's .npz, JSON.

    .mat    `images` and `boxes`: two cell arrays of one length, as released with R-CNN
    .npz    `images` [n] texts, `starts` [n+1], `boxes` [M, 4 or 5]: picture i owns the rows
            starts[i] to starts[i + 1]; or an array for each picture, by its name
    .json   an object from names to lists of boxes; or COCO's list of {"image_id", "bbox", "score"}

A fifth number of a box is its score. Which corners the other four are, the files do not say.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from rfcn.errors import DataError, MachineError, RFCNError
from rfcn.filekind import read_json

Corners = Literal["x1y1x2y2", "y1x1y2x2", "xywh"]
Pixels = Literal["one_based", "zero_based", "half_open"]


def read_proposals(path: Path) -> dict[str, np.ndarray]:
    """The boxes of each picture, [P, 4 or 5] float32 as they stand in the file.

    Raises:
        DataError: the file is missing, broken or of another kind.
        MachineError: it is a .mat file, and scipy is not installed.
    """
    if not path.is_file():
        raise DataError(f"data.proposals: there is no file {path}.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"data.proposals: {path} does not end in {', '.join(_READERS)}. (A pickle can run code "
            "and is not read; write its arrays with numpy.savez.)"
        )
    try:
        return {name: _checked(name, boxes, path) for name, boxes in reader(path).items()}
    except RFCNError:
        raise
    except Exception as error:  # scipy, numpy and json raise a dozen kinds for a broken file
        words = str(error).splitlines()
        raise DataError(
            f"data.proposals: {path} cannot be read as a file of proposals "
            f"({type(error).__name__}: {words[0] if words else ''}). It may be cut short or laid "
            "out in another way; docs/variants.md shows the layouts."
        ) from error


def write_proposals(file: BinaryIO, proposals: Mapping[str, np.ndarray]) -> None:
    """Write boxes [P, 4 or 5] of each picture as .npz, in the layout `images, starts, boxes`."""
    counts = [len(boxes) for boxes in proposals.values()]
    np.savez_compressed(
        file,
        images=np.array(list(proposals), dtype=str),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *proposals.values()]),
    )


def to_half_open(boxes: np.ndarray, corners: Corners, pixels: Pixels) -> np.ndarray:
    """Boxes [P, 4] of a file in our convention (see `rfcn.boxes`), float32.

    corners: what the four numbers are. pixels: `one_based`: counted from 1, the last column and row
    belong to the box (MATLAB); `zero_based`: the same from 0; `half_open`: as here. Widths and
    heights of `xywh` are sides in pixels in all three.
    """
    boxes = boxes.astype(np.float32)
    if corners == "y1x1y2x2":
        boxes = boxes[:, [1, 0, 3, 2]]
    if corners == "xywh":
        first = boxes[:, :2] - (pixels == "one_based")
        return np.concatenate([first, first + boxes[:, 2:]], axis=1)
    return boxes + _SHIFTS[pixels]


_SHIFTS: dict[str, np.ndarray] = {
    "one_based": np.array([-1, -1, 0, 0], np.float32),
    "zero_based": np.array([0, 0, 1, 1], np.float32),
    "half_open": np.zeros(4, np.float32),
}


def _checked(name: str, boxes: Any, path: Path) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise DataError(
            f"data.proposals: {path}: the boxes of picture {name} have the shape "
            f"{list(boxes.shape)}, expected [P, 4], or [P, 5] with scores."
        )
    if not np.isfinite(boxes).all():
        raise DataError(f"data.proposals: {path}: a box of picture {name} is not finite.")
    return boxes


def _read_mat(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise MachineError(
            f"data.proposals: {path}: scipy is needed to read .mat files. Type: "
            "pip install 'rfcn[proposals]'"
        ) from None
    try:
        content = loadmat(path, variable_names=["images", "boxes", "scores"])
    except NotImplementedError:  # version 7.3 is HDF5
        raise DataError(
            f"data.proposals: {path} is of MATLAB's format 7.3. Save it again in MATLAB with "
            "save(..., '-v7'), or convert it to .npz or JSON."
        ) from None
    names = [str(cell.item() if cell.size == 1 else cell) for cell in content["images"].ravel()]
    return _together(names, list(content["boxes"].ravel()), path)


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as content:
        if "images" not in content:
            return {name: content[name] for name in content.files}
        boxes = np.split(content["boxes"], content["starts"][1:-1])
        return _together([str(name) for name in content["images"]], boxes, path)


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if isinstance(content, dict):
        return content
    found: dict[str, list[list[float]]] = {}
    for one in content:
        box = [*one["bbox"], *([one["score"]] if "score" in one else [])]
        found.setdefault(str(one["image_id"]), []).append(box)
    return found


def _together(names: list[str], boxes: list[Any], path: Path) -> dict[str, Any]:
    """Names and boxes side by side as a mapping."""
    if len(names) != len(boxes):
        raise DataError(
            f"data.proposals: {path} names {len(names)} pictures and holds the boxes of "
            f"{len(boxes)}."
        )
    if len(set(names)) != len(names):
        raise DataError(f"data.proposals: {path} names a picture twice.")
    return dict(zip(names, boxes, strict=True))


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".mat": _read_mat,
    ".npz": _read_npz,
    ".json": _read_json,
}
