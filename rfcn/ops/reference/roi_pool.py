"""roi_pool from its definition. Bin edges in the dtype of the RoIs."""

import numpy as np
import torch
from torch import Tensor


def roi_pool(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float
) -> tuple[Tensor, Tensor]:
    """features: [N, D, H, W], rois: [R, 5] -> maxima [R, D, h, w] float64 and the cell y*W + x of
    each, int64, -1 for an empty bin (`rfcn.ops.roi_pool`)."""
    maps = features.detach().double().numpy()
    shape = (len(rois), maps.shape[1], *output_size)
    pooled, cells = np.zeros(shape), np.full(shape, -1)
    for r, i, j, rows, columns in _bins(rois, output_size, spatial_scale, maps.shape[2:]):
        for d, plane in enumerate(maps[int(rois[r, 0])]):
            inside = plane[rows, columns]
            # NumPy's argmax takes the first of equal values, and NaN for the largest of all.
            y, x = np.unravel_index(inside.argmax(), inside.shape)
            pooled[r, d, i, j] = inside[y, x]
            cells[r, d, i, j] = (rows.start + y) * plane.shape[1] + columns.start + x
    return torch.from_numpy(pooled), torch.from_numpy(cells)


def roi_pool_backward(
    gradient: Tensor, cells: Tensor, rois: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """gradient and cells: [R, D, h, w] -> the gradient of features of `shape`, float64."""
    result = np.zeros((shape[0], shape[1], shape[2] * shape[3]))
    for r, d, i, j in np.ndindex(*cells.shape):
        if cells[r, d, i, j] >= 0:
            result[int(rois[r, 0]), d, cells[r, d, i, j]] += float(gradient[r, d, i, j])
    return torch.from_numpy(result.reshape(shape))


def _bins(rois, output_size, scale: float, size):  # type: ignore[no-untyped-def]
    """Every bin that has cells: RoI, bin row, bin column, its rows, its columns."""
    number = rois.numpy().dtype.type
    for r, (_, x1, y1, x2, y2) in enumerate(rois.numpy()):
        for i in range(output_size[0]):
            rows = _cells(y1, y2, number(scale), i, output_size[0], size[0])
            for j in range(output_size[1]):
                columns = _cells(x1, x2, number(scale), j, output_size[1], size[1])
                if rows.stop > rows.start and columns.stop > columns.start:
                    yield r, i, j, rows, columns


def _cells(low, high, scale, p: int, bins: int, limit: int) -> slice:  # type: ignore[no-untyped-def]
    """The cells of bin p along one side; all numbers are NumPy scalars of the RoIs' dtype."""
    number = type(scale)
    start, end = _round_half_away(low * scale), _round_half_away(high * scale)
    side = max(end - start + number(1), number(1))
    size = side / number(bins)
    begin = np.floor(number(p) * size) + start
    stop = np.ceil(number(p + 1) * size) + start
    return slice(int(np.clip(begin, 0, limit)), int(np.clip(stop, 0, limit)))


def _round_half_away(x):  # type: ignore[no-untyped-def]
    """C's round(): 0.5 -> 1, -0.5 -> -1, 2.5 -> 3."""
    number = type(x)
    whole = np.trunc(x)
    return whole + number(np.sign(x)) if abs(x - whole) >= number(0.5) else whole
