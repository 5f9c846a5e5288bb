"""What the operators refuse, in one wording."""

import math
import os

import torch
from torch import Tensor

DEBUG = os.environ.get("RFCN_DEBUG") == "1"
"""With RFCN_DEBUG=1 RoIs on CUDA are checked too, which waits for the GPU at every call."""

MAP_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MOST_SAMPLING = 1024
SEMANTICS = ("msra", "paper", "torchvision")
"""Whose corners and rounding the bins of a RoI follow; the schemas carry the place in this list."""


def check_maps_and_rois(features: Tensor, rois: Tensor, spatial_scale: float) -> None:
    """What every RoI operator asks of them. features: [N, ...], rois: [R, 5].

    Raises ValueError; with `DEBUG` also RuntimeError for a bad row on CUDA.
    """
    check_dtype("features", features, MAP_DTYPES)
    check_rows("rois", rois, 5, features)
    if not 0 < spatial_scale < math.inf:
        raise ValueError(f"spatial_scale: must be a positive number, not {spatial_scale}")
    if DEBUG and rois.is_cuda:
        check_rois(rois, features.shape[0])


def semantics_number(semantics: str) -> int:
    """How the schemas write `semantics`. Raises ValueError where nobody knows it."""
    if semantics not in SEMANTICS:
        names = f"{', '.join(SEMANTICS[:-1])} or {SEMANTICS[-1]}"
        raise ValueError(f"semantics: must be {names}, not {semantics!r}")
    return SEMANTICS.index(semantics)


def check_sampling_ratio(ratio: int) -> None:
    """Raises ValueError unless so many samples a bin and axis make sense."""
    if not 0 <= ratio <= MOST_SAMPLING:
        raise ValueError(
            f"sampling_ratio: must be in 1..{MOST_SAMPLING}, or 0 for one sample a cell, "
            f"not {ratio}"
        )


def score_maps(features: Tensor, k: int) -> Tensor:
    """Score maps [N, C*k*k, H, W] as [N, C, k, k, H, W]: a view, never a copy.

    Raises ValueError where k or the shape does not fit; six dimensions pass as they are.
    """
    if k < 1:
        raise ValueError(f"k: must be at least 1, not {k}")
    shape = list(features.shape)
    if features.dim() == 6 and shape[2] == k and shape[3] == k:
        return features
    if features.dim() != 4:
        raise ValueError(f"features: the shape must be [N, C*k*k, H, W] with k = {k}, not {shape}")
    if shape[1] % (k * k):
        raise ValueError(
            f"features: {shape[1]} channels are not a multiple of k*k = {k * k} (shape {shape})"
        )
    return features.unflatten(1, (shape[1] // (k * k), k, k))


def two_sides(output_size: int | tuple[int, int]) -> tuple[int, int]:
    """(h, w) bins from one number or two. Raises ValueError where they make no sense."""
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"output_size: must be one or two whole numbers >= 1, not {output_size}")
    return size


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


def check_scored_boxes(boxes: Tensor, scores: Tensor, groups: Tensor | None) -> None:
    """Raises ValueError unless boxes [B, 4], scores [B] and groups [B] fit each other."""
    check_rows("boxes", boxes, 4, boxes)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"scores: the shape must be [{len(boxes)}] like boxes, not {list(scores.shape)}"
        )
    if scores.dtype not in MAP_DTYPES:
        raise ValueError(f"scores: dtype must be floating, not {str(scores.dtype)[6:]}")
    check_device("scores", scores, boxes)
    if groups is None:
        return
    if groups.shape != scores.shape or groups.dtype != torch.int64:
        raise ValueError(
            f"groups: must be int64 of shape [{len(boxes)}], "
            f"not {str(groups.dtype)[6:]} of shape {list(groups.shape)}"
        )
    check_device("groups", groups, boxes)


def check_threshold(name: str, threshold: float) -> None:
    """Raises ValueError unless it is an IoU."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name}: must be in 0..1, not {threshold}")


def check_limit(limit: int | None) -> None:
    """Raises ValueError unless so many boxes can be kept."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit: must be 0 or more, not {limit}")


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
