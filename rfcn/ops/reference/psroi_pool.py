"""psroi_pool from its definition. Bin edges in the dtype of the RoIs, sums in float64."""

import numpy as np
import torch
from torch import Tensor


def psroi_pool(features: Tensor, rois: Tensor, k: int, spatial_scale: float) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k] float64 (`rfcn.ops.psroi_pool`)."""
    maps = features.detach().double().numpy()
    classes = maps.shape[1] // (k * k)
    pooled = np.zeros((len(rois), classes, k, k))
    for r, i, j, cells in _bins(rois, k, spatial_scale, *maps.shape[2:]):
        picture = int(rois[r, 0])
        for c in range(classes):
            pooled[r, c, i, j] = maps[picture, (c * k + i) * k + j][cells].mean()
    return torch.from_numpy(pooled)


def psroi_pool_backward(
    gradient: Tensor, rois: Tensor, k: int, spatial_scale: float, shape: tuple[int, ...]
) -> Tensor:
    """gradient: [R, C, k, k] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()
    result = np.zeros(shape)
    for r, i, j, cells in _bins(rois, k, spatial_scale, *shape[2:]):
        picture = int(rois[r, 0])
        for c in range(given.shape[1]):
            plane = result[picture, (c * k + i) * k + j]
            plane[cells] += given[r, c, i, j] / plane[cells].size
    return torch.from_numpy(result)


def _bins(rois: Tensor, k: int, scale: float, height: int, width: int):  # type: ignore[no-untyped-def]
    """Every bin that has cells: (RoI, bin row, bin column, (rows, columns))."""
    number = rois.numpy().dtype.type
    for r, (_, x1, y1, x2, y2) in enumerate(rois.numpy()):
        for i in range(k):
            rows = _cells(y1, y2, number(scale), i, k, height)
            for j in range(k):
                columns = _cells(x1, x2, number(scale), j, k, width)
                if rows.stop > rows.start and columns.stop > columns.start:
                    yield r, i, j, (rows, columns)


def _cells(low, high, scale, p: int, k: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    """The cells of bin p along one side; all numbers are NumPy scalars of the RoIs' dtype."""
    number = type(scale)
    start = _round_half_away(low) * scale
    end = (_round_half_away(high) + number(1)) * scale
    size = max(end - start, number(0.1)) / number(k)
    begin = np.floor(number(p) * size + start)
    stop = np.ceil(number(p + 1) * size + start)
    return slice(int(np.clip(begin, 0, limit)), int(np.clip(stop, 0, limit)))


def _round_half_away(x):  # type: ignore[no-untyped-def]
    """C's round(): 0.5 -> 1, -0.5 -> -1, 2.5 -> 3."""
    number = type(x)
    whole = np.trunc(x)
    return whole + number(np.sign(x)) if abs(x - whole) >= number(0.5) else whole
