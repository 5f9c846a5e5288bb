"""psroi_pool from its definition. Bin edges in the dtype of the RoIs, sums in float64."""

import numpy as np
import torch
from torch import Tensor


def psroi_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k] float64 (`rfcn.ops.psroi_pool`)."""
    maps = maps_by_bin(features.detach().double().numpy(), k)
    pooled = np.zeros((len(rois), *maps.shape[1:4]))
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, maps.shape):
        pooled[r, :, i, j] = maps[picture, :, i, j, rows, columns].mean(axis=(1, 2))
    return torch.from_numpy(pooled)


def psroi_pool_backward(
    gradient: Tensor,
    rois: Tensor,
    k: int,
    spatial_scale: float,
    shape: tuple[int, ...],
    semantics: str = "msra",
) -> Tensor:
    """gradient: [R, C, k, k] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()[..., None, None]
    result = np.zeros(shape)
    maps = maps_by_bin(result, k)
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, shape):
        cells = maps[picture, :, i, j, rows, columns]
        cells += given[r, :, i, j] / cells[0].size
    return torch.from_numpy(result)


def maps_by_bin(maps: np.ndarray, k: int) -> np.ndarray:
    """A view [N, C, k, k, H, W] of [N, C*k*k, H, W]."""
    return maps.reshape(len(maps), maps.shape[1] // (k * k), k, k, *maps.shape[2:])


def bins(rois: Tensor, k: int, scale: float, semantics: str, shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
    """Every bin that has cells on maps of `shape` [..., H, W]:
    (RoI, picture, bin row, bin column, (rows, columns))."""
    number = rois.numpy().dtype.type
    all_cells = {"msra": _msra_cells, "paper": _paper_cells, "torchvision": _torchvision_cells}
    cells_of = all_cells[semantics]
    for r, (picture, x1, y1, x2, y2) in enumerate(rois.numpy()):
        down = cells_of(y1, y2, number(scale), k, shape[-2])
        across = cells_of(x1, x2, number(scale), k, shape[-1])
        for i, rows in enumerate(down):
            for j, columns in enumerate(across):
                if rows.stop > rows.start and columns.stop > columns.start:
                    yield r, int(picture), i, j, (rows, columns)


# The cells of every bin along one side; all numbers are NumPy scalars of the RoIs' dtype.


def _msra_cells(low, high, scale, k: int, limit: int) -> list[slice]:  # type: ignore[no-untyped-def]
    number = type(scale)
    start = round_half_away(low) * scale
    end = (round_half_away(high) + number(1)) * scale
    size = max(end - start, number(0.1)) / number(k)
    return [
        between(np.floor(number(p) * size + start), np.ceil(number(p + 1) * size + start), limit)
        for p in range(k)
    ]


def _paper_cells(low, high, scale, k: int, limit: int) -> list[slice]:  # type: ignore[no-untyped-def]
    number = type(scale)
    x0 = round_half_away(round_half_away(low) * scale)
    x1 = round_half_away((round_half_away(high) + number(1)) * scale)
    return _cells_of_whole_side(x0, x1, k, limit)


def _torchvision_cells(low, high, scale, k: int, limit: int) -> list[slice]:  # type: ignore[no-untyped-def]
    return _cells_of_whole_side(
        round_half_away(low * scale), round_half_away(high * scale), k, limit
    )


def _cells_of_whole_side(x0, x1, k: int, limit: int) -> list[slice]:  # type: ignore[no-untyped-def]
    number = type(x0)
    size = max(x1 - x0, number(1)) / number(k)
    return [
        between(x0 + np.floor(number(p) * size), x0 + np.ceil(number(p + 1) * size), limit)
        for p in range(k)
    ]


def between(begin, stop, limit: int) -> slice:  # type: ignore[no-untyped-def]
    """The cells from one edge to another on a map of `limit` cells. An edge that is NaN, as where a
    side is longer than a number, is at 0."""
    return slice(int(min(max(0, begin), limit)), int(min(max(0, stop), limit)))


def round_half_away(x):  # type: ignore[no-untyped-def]
    """C's round(): 0.5 -> 1, -0.5 -> -1, 2.5 -> 3."""
    number = type(x)
    whole = np.trunc(x)
    return whole + number(np.sign(x)) if abs(x - whole) >= number(0.5) else whole
