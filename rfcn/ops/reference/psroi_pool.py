"""psroi_pool from its definition. Bin edges in the dtype of the RoIs, sums in float64."""

import numpy as np
import torch
from torch import Tensor


def psroi_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k] float64 (`rfcn.ops.psroi_pool`)."""
    maps = features.detach().double().numpy()
    classes = maps.shape[1] // (k * k)
    pooled = np.zeros((len(rois), classes, k, k))
    for r, i, j, cells in bins(rois, k, spatial_scale, semantics, *maps.shape[2:]):
        picture = int(rois[r, 0])
        for c in range(classes):
            pooled[r, c, i, j] = maps[picture, (c * k + i) * k + j][cells].mean()
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
    given = gradient.detach().double().numpy()
    result = np.zeros(shape)
    for r, i, j, cells in bins(rois, k, spatial_scale, semantics, *shape[2:]):
        picture = int(rois[r, 0])
        for c in range(given.shape[1]):
            plane = result[picture, (c * k + i) * k + j]
            plane[cells] += given[r, c, i, j] / plane[cells].size
    return torch.from_numpy(result)


def bins(rois: Tensor, k: int, scale: float, semantics: str, height: int, width: int):  # type: ignore[no-untyped-def]
    """Every bin that has cells: (RoI, bin row, bin column, (rows, columns))."""
    number = rois.numpy().dtype.type
    cells = {"msra": _msra_cells, "paper": _paper_cells, "torchvision": _torchvision_cells}
    cells_of = cells[semantics]
    for r, (_, x1, y1, x2, y2) in enumerate(rois.numpy()):
        for i in range(k):
            rows = cells_of(y1, y2, number(scale), i, k, height)
            for j in range(k):
                columns = cells_of(x1, x2, number(scale), j, k, width)
                if rows.stop > rows.start and columns.stop > columns.start:
                    yield r, i, j, (rows, columns)


# The cells of bin p along one side; all numbers are NumPy scalars of the RoIs' dtype.


def _msra_cells(low, high, scale, p: int, k: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    number = type(scale)
    start = _round_half_away(low) * scale
    end = (_round_half_away(high) + number(1)) * scale
    size = max(end - start, number(0.1)) / number(k)
    begin = np.floor(number(p) * size + start)
    stop = np.ceil(number(p + 1) * size + start)
    return slice(int(np.clip(begin, 0, limit)), int(np.clip(stop, 0, limit)))


def _paper_cells(low, high, scale, p: int, k: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    number = type(scale)
    x0 = _round_half_away(_round_half_away(low) * scale)
    x1 = _round_half_away((_round_half_away(high) + number(1)) * scale)
    return _cells_of_whole_side(x0, x1, p, k, limit)


def _torchvision_cells(low, high, scale, p: int, k: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    x0, x1 = _round_half_away(low * scale), _round_half_away(high * scale)
    return _cells_of_whole_side(x0, x1, p, k, limit)


def _cells_of_whole_side(x0, x1, p: int, k: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    number = type(x0)
    size = max(x1 - x0, number(1)) / number(k)
    begin, stop = x0 + np.floor(number(p) * size), x0 + np.ceil(number(p + 1) * size)
    return slice(int(np.clip(begin, 0, limit)), int(np.clip(stop, 0, limit)))


def _round_half_away(x):  # type: ignore[no-untyped-def]
    """C's round(): 0.5 -> 1, -0.5 -> -1, 2.5 -> 3."""
    number = type(x)
    whole = np.trunc(x)
    return whole + number(np.sign(x)) if abs(x - whole) >= number(0.5) else whole
