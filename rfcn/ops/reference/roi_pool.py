"""roi_pool from its definition. Bin edges in the dtype of the RoIs."""

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.psroi_pool import between, round_half_away


def roi_pool(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float
) -> tuple[Tensor, Tensor]:
    """features: [N, D, H, W], rois: [R, 5] -> maxima [R, D, h, w] float64 and the cell y*W + x of
    each, int64, -1 for an empty bin (`rfcn.ops.roi_pool`)."""
    maps = features.detach().double().numpy()
    shape = (len(rois), maps.shape[1], *output_size)
    pooled, cells = np.zeros(shape), np.full(shape, -1)
    channels = np.arange(maps.shape[1])
    for r, picture, i, j, rows, columns in _bins(rois, output_size, spatial_scale, maps.shape[2:]):
        inside = maps[picture, :, rows, columns]
        # NumPy's argmax takes the first of equal values, and NaN for the largest of all.
        first = inside.reshape(len(inside), -1).argmax(axis=1)
        y, x = np.divmod(first, inside.shape[2])
        pooled[r, :, i, j] = inside[channels, y, x]
        cells[r, :, i, j] = (rows.start + y) * maps.shape[3] + columns.start + x
    return torch.from_numpy(pooled), torch.from_numpy(cells)


def roi_pool_backward(
    gradient: Tensor, cells: Tensor, rois: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """gradient and cells: [R, D, h, w] -> the gradient of features of `shape`, float64."""
    given, winners = gradient.detach().double().numpy(), cells.numpy()
    pictures = rois[:, 0].long().tolist()
    result = np.zeros((shape[0], shape[1], shape[2] * shape[3]))
    for r, i, j in np.ndindex(winners.shape[0], *winners.shape[2:]):
        (hit,) = np.nonzero(winners[r, :, i, j] >= 0)
        result[pictures[r], hit, winners[r, hit, i, j]] += given[r, hit, i, j]
    return torch.from_numpy(result.reshape(shape))


def _bins(rois, output_size, scale: float, size):  # type: ignore[no-untyped-def]
    """Every bin that has cells: RoI, picture, bin row, bin column, its rows, its columns."""
    number = rois.numpy().dtype.type
    for r, (picture, x1, y1, x2, y2) in enumerate(rois.numpy()):
        down = _cells(y1, y2, number(scale), output_size[0], size[0])
        across = _cells(x1, x2, number(scale), output_size[1], size[1])
        for i, rows in enumerate(down):
            for j, columns in enumerate(across):
                if rows.stop > rows.start and columns.stop > columns.start:
                    yield r, int(picture), i, j, rows, columns


def _cells(low, high, scale, bins: int, limit: int) -> list[slice]:  # type: ignore[no-untyped-def]
    """The cells of every bin along one side; all numbers are NumPy scalars of the RoIs' dtype."""
    number = type(scale)
    start, end = round_half_away(low * scale), round_half_away(high * scale)
    side = max(end - start + number(1), number(1))
    size = side / number(bins)
    return [
        between(np.floor(number(p) * size) + start, np.ceil(number(p + 1) * size) + start, limit)
        for p in range(bins)
    ]
