"""The operators from their definitions: plain loops, slow, sharing nothing with the fast forms.

The oracle of the tests. Bin edges are computed in the RoIs' dtype, sums in float64.
"""

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


def nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> list[int]:
    """The kept indices, best first: each box against every box kept before it."""
    rows = boxes.numpy()
    order = sorted(
        (index for index, score in enumerate(scores.tolist()) if score == score),
        key=lambda index: (-float(scores[index]), index),
    )
    kept: list[int] = []
    for index in order:
        if limit is not None and len(kept) == limit:
            break
        rivals = [one for one in kept if groups is None or int(groups[one]) == int(groups[index])]
        if not any(_iou(rows[one], rows[index]) > threshold for one in rivals):
            kept.append(index)
    return kept


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), a.dtype.type(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), a.dtype.type(0))
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if common > 0 else 0.0
