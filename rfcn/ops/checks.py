"""What the operators refuse, in one wording."""

import os

import torch
from torch import Tensor

DEBUG = os.environ.get("RFCN_DEBUG") == "1"
"""With RFCN_DEBUG=1 RoIs on CUDA are checked too, which waits for the GPU at every call."""


def check_dtype(name: str, tensor: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    """Raises ValueError unless `tensor` has one of the dtypes."""
    if tensor.dtype not in allowed:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"{name}: dtype must be {names}, not {str(tensor.dtype)[6:]}")


def check_rows(name: str, rows: Tensor, columns: int, like: Tensor) -> None:
    """Raises ValueError unless `rows` is [*, columns] of float32 or float64, where `like` is."""
    if rows.dim() != 2 or rows.shape[1] != columns:
        raise ValueError(f"{name}: the shape must be [*, {columns}], not {list(rows.shape)}")
    check_dtype(name, rows, (torch.float32, torch.float64))
    check_device(name, rows, like)


def check_device(name: str, tensor: Tensor, like: Tensor) -> None:
    """Raises ValueError unless `tensor` lies where `like` does."""
    if tensor.device != like.device:
        raise ValueError(f"{name}: must be on {like.device}, not on {tensor.device}")


def valid_rows(rois: Tensor, pictures: int) -> Tensor:
    """Which RoIs are finite rows of a picture that exists. rois: [R, 5] -> [R] bool."""
    index = rois[:, 0]
    exists = (index >= 0) & (index < pictures) & (index == index.floor())
    return exists & rois.isfinite().all(dim=1)


def check_rois(rois: Tensor, pictures: int) -> None:
    """Raises RuntimeError that names the first RoI no operator can use. Waits for the device.

    rois: [R, 5] rows of (picture index, x1, y1, x2, y2); pictures: how many the batch has.
    """
    faults = (~valid_rows(rois, pictures)).nonzero()
    if len(faults):
        row = int(faults[0])
        values = ", ".join(f"{value:g}" for value in rois[row].tolist())
        raise RuntimeError(
            f"rois: row {row} is ({values}), but column 0 must be a whole number in "
            f"0..{pictures - 1} (the batch has {pictures} pictures) and the corners must be finite"
        )
