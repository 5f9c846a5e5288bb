"""deform_psroi_pool from its definition.

Positions in the wider dtype of RoIs and offsets, sums in float64.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.psroi_pool import round_half_away


class Sampling(NamedTuple):
    """The numbers of the operator beside its tensors."""

    k: int
    spatial_scale: float
    samples: int = 4
    offset_scale: float = 0.1


def deform_psroi_pool(
    features: Tensor, rois: Tensor, offsets: Tensor | None, sampling: Sampling
) -> Tensor:
    """[N, C*k*k, H, W], [R, 5] and offsets [R, G, 2, k, k] -> [R, C, k, k] float64."""
    maps = _maps(features, offsets, sampling.k)
    pooled = np.zeros((len(rois), *maps.shape[1:5]))
    for (r, picture, g, i, j), points, _ in _bins(rois, offsets, sampling, *maps.shape[5:]):
        values = _values(maps[picture, g, :, i, j], _corners(*points))
        pooled[r, g, :, i, j] = values.mean(axis=(1, 2))
    return torch.from_numpy(pooled.reshape(len(rois), -1, *pooled.shape[3:]))


def deform_psroi_pool_backward(
    gradient: Tensor, features: Tensor, rois: Tensor, offsets: Tensor | None, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """gradient: [R, C, k, k] -> the gradients of features and of offsets, float64."""
    maps = _maps(features, offsets, sampling.k)
    given = gradient.detach().double().numpy().reshape(len(rois), *maps.shape[1:5])
    to_maps = np.zeros(maps.shape)
    to_offsets = np.zeros((len(rois), maps.shape[1], 2, sampling.k, sampling.k))
    for (r, picture, g, i, j), points, lengths in _bins(rois, offsets, sampling, *maps.shape[5:]):
        here = picture, g, slice(None), i, j
        corners = _corners(*points)
        share = given[r, g, :, i, j] / (len(points[0]) * len(points[1]))
        _add(to_maps[here], corners, share)
        for axis, slopes in enumerate(_slopes(maps[here], corners)):
            moved = sampling.offset_scale * lengths[axis]  # cells a unit of offset
            to_offsets[r, g, axis, i, j] = moved * (slopes.sum(axis=(1, 2)) * share).sum()
    return torch.from_numpy(to_maps.reshape(features.shape)), torch.from_numpy(to_offsets)


def _maps(features: Tensor, offsets: Tensor | None, k: int) -> np.ndarray:
    """[N, C*k*k, H, W] -> [N, groups, classes of a group, k, k, H, W] float64."""
    maps = features.detach().double().numpy()
    groups = 1 if offsets is None else offsets.shape[1]
    return maps.reshape(len(maps), groups, maps.shape[1] // (k * k * groups), k, k, *maps.shape[2:])


def _bins(
    rois: Tensor, offsets: Tensor | None, sampling: Sampling, height: int, width: int
) -> Iterator[tuple[tuple[int, ...], tuple[np.ndarray, np.ndarray], tuple[float, float]]]:
    """Every bin with samples: (RoI, picture, group, i, j), the samples (rows, columns), the RoI's
    size (x, y)."""
    k = sampling.k
    if offsets is None:
        offsets = rois.new_zeros(len(rois), 1, 2, k, k)
    corners, moves = (one.detach().numpy() for one in (rois, offsets))
    wide = np.promote_types(corners.dtype, moves.dtype).type
    corners, moves = corners.astype(wide), moves.astype(wide)
    for r, (picture, x1, y1, x2, y2) in enumerate(corners):
        left, across = _side(x1, x2, wide(sampling.spatial_scale))
        top, down = _side(y1, y2, wide(sampling.spatial_scale))
        for g, i, j in np.ndindex(moves.shape[1], k, k):
            x, y = moves[r, g, :, i, j]
            rows = _line(top, down, i, y, sampling, height)
            columns = _line(left, across, j, x, sampling, width)
            if len(rows) and len(columns):
                yield (r, int(picture), g, i, j), (rows, columns), (float(across), float(down))


def _side(low: Any, high: Any, scale: Any) -> tuple[Any, Any]:
    """Start and length of one side of a RoI; all numbers are NumPy scalars of one dtype."""
    number = type(scale)
    start = round_half_away(low) * scale - number(0.5)
    end = (round_half_away(high) + number(1)) * scale - number(0.5)
    return start, max(end - start, number(0.1))


def _line(
    start: Any, length: Any, p: int, offset: Any, sampling: Sampling, limit: int
) -> np.ndarray:
    """The samples of bin p that count along one side, clamped to the map, as float64."""
    number = type(start)
    size = length / number(sampling.k)
    begin = number(p) * size + start + offset * number(sampling.offset_scale) * length
    step = size / number(sampling.samples)
    at = begin + np.arange(sampling.samples, dtype=number) * step
    counted = at[(at >= number(-0.5)) & (at <= number(limit - 0.5))]
    return np.minimum(np.maximum(counted.astype(float), 0), limit - 1)


Corner = tuple[tuple[np.ndarray, np.ndarray], np.ndarray, tuple[np.ndarray, np.ndarray]]


def _corners(rows: np.ndarray, columns: np.ndarray) -> list[Corner]:
    """The four cells around each sample: (y, x), their weights, and the weights' slopes (x, y).

    A sample exactly on a row or a column of cells has no slope across it.
    """
    return [
        ((cell_y, cell_x), down * across, (sign_x * down, sign_y * across))
        for cell_y, down, sign_y in _two_cells(rows[:, None])
        for cell_x, across, sign_x in _two_cells(columns[None, :])
    ]


def _two_cells(at: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The cells below and above positions, their weights, and on which side they lie: -1, 0, 1."""
    below, above, part = np.floor(at), np.ceil(at), at % 1
    return [
        (below.astype(int), 1 - part, np.sign(below - at)),
        (above.astype(int), part, np.sign(above - at)),
    ]


def _values(maps: np.ndarray, corners: list[Corner]) -> Any:
    """Bilinear interpolation of maps [C, H, W] -> [C, rows, columns]."""
    return sum(maps[:, *cells] * weights for cells, weights, _ in corners)


def _slopes(maps: np.ndarray, corners: list[Corner]) -> list[Any]:
    """Its derivatives along x and y, [C, rows, columns] each."""
    values = [maps[:, *cells] for cells, _, _ in corners]
    return [
        sum(value * slopes[axis] for value, (_, _, slopes) in zip(values, corners, strict=True))
        for axis in (0, 1)
    ]


def _add(result: np.ndarray, corners: list[Corner], share: np.ndarray) -> None:
    """The transpose of `_values`, where each sample has the same gradient [C]."""
    for cells, weights, _ in corners:
        np.add.at(result, (slice(None), *cells), share[:, None, None] * weights)  # type: ignore[arg-type]
