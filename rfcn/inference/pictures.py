"""Whatever a user has a picture in, to uint8 RGB [H, W, 3]. docs/inference.md has the table."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from rfcn.datasets.image import from_pillow
from rfcn.datasets.rules import FileRules

PictureSource = str | Path | Image.Image | np.ndarray | Tensor
"""What is one picture: a file, Pillow's, an array [H, W(, C)] or a tensor [C, H, W]."""

_CHANNELS = (1, 3, 4)
_HAIR = 1 / 512
"""By how much floats may leave 0..1, as resizing makes them: half a level of a byte."""
_TAKEN = (
    "uint8, uint16 (0..65535) or floats (0..1), of shape [H, W], [H, W, 1] (grey), [H, W, 3] (RGB) "
    "or [H, W, 4] (RGBA)"
)
_TAKEN_TENSORS = _TAKEN.replace("H, W, 1", "1, H, W").replace("H, W, 3", "3, H, W")
_TAKEN_TENSORS = _TAKEN_TENSORS.replace("H, W, 4", "4, H, W")


def read_picture(source: PictureSource, rules: FileRules | None = None) -> np.ndarray:
    """The picture, uint8 RGB [H, W, 3]; an array that is that already comes back itself.

    Files and Pillow's pictures are turned upright and converted by the rules of
    `rfcn.datasets.image`; arrays are RGB with the channels last, tensors with the channels first.

    Raises:
        DataError: a file is missing, no picture, damaged or too large.
        ValueError: it is anything else; the message names dtype and shape.
    """
    rules = FileRules() if rules is None else rules
    if isinstance(source, str | Path):
        return rules.read(Path(source).expanduser())
    if isinstance(source, Image.Image):
        return from_pillow(source, max_pixels=rules.max_pixels, upright=rules.exif == "apply")
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ValueError(
        f"a picture must be a path, a Pillow picture, an array or a tensor, not {_type(source)}"
    )


def size_of(picture: np.ndarray) -> tuple[int, int]:
    """(height, width) of an array [H, W, ...]."""
    return picture.shape[0], picture.shape[1]


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (2, 3) or 0 in array.shape or array.shape[2:] not in _LAST:
        swapped = array.ndim == 3 and array.shape[0] in _CHANNELS
        hint = "; channels come last in arrays: array.transpose(1, 2, 0)" if swapped else ""
        raise ValueError(_refused("array", _TAKEN, array.dtype, array.shape, hint))
    if array.dtype != np.uint8:
        array = _to_bytes(array)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        return from_pillow(Image.fromarray(np.ascontiguousarray(array), mode="RGBA"))
    return array


def _from_tensor(tensor: Tensor) -> np.ndarray:
    if tensor.ndim == 3 and tensor.shape[0] not in _CHANNELS:
        swapped = tensor.shape[2] in _CHANNELS
        hint = "; channels come first in tensors: tensor.permute(2, 0, 1)" if swapped else ""
        raise ValueError(_refused("tensor", _TAKEN_TENSORS, tensor.dtype, tensor.shape, hint))
    if tensor.ndim not in (2, 3) or 0 in tensor.shape or not _numpy_has(tensor):
        raise ValueError(_refused("tensor", _TAKEN_TENSORS, tensor.dtype, tensor.shape))
    pixels = tensor.detach().cpu().numpy()
    return _from_array(pixels if tensor.ndim == 2 else pixels.transpose(1, 2, 0))


def _numpy_has(tensor: Tensor) -> bool:
    """Whether the tensor has a dtype that numpy knows: there is no bfloat16."""
    return str(tensor.dtype) != "torch.bfloat16" and not tensor.is_complex()


def _to_bytes(array: np.ndarray) -> np.ndarray:
    """Levels of 0..65535 or 0..1 as 0..255, rounded."""
    if array.dtype == np.uint16:
        return np.rint(array.astype(np.float32) / 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ValueError(_refused("array", _TAKEN, array.dtype, array.shape))
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= -_HAIR and highest <= 1 + _HAIR):  # NaN too
        hint = (
            f"; its values are {lowest:g}..{highest:g}: divide by their largest, or make it uint8"
        )
        raise ValueError(_refused("array", _TAKEN, array.dtype, array.shape, hint))
    return np.rint(array.astype(np.float32).clip(0, 1) * 255).astype(np.uint8)


_LAST: tuple[tuple[int, ...], ...] = ((), *((channels,) for channels in _CHANNELS))


def _refused(kind: str, taken: str, dtype: object, shape: tuple[int, ...], hint: str = "") -> str:
    return f"a picture as {kind} must be {taken}; not {dtype} {list(shape)}{hint}"


def _type(source: Any) -> str:
    return type(source).__name__
