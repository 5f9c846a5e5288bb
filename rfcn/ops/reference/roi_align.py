"""roi_align from its definition: every sample visited. Positions in the dtype of the RoIs, the rest
in float64. `psroi_align` of this folder samples with the same functions."""

import math

import numpy as np
import torch
from torch import Tensor

MOST_SAMPLES = {np.float32: 2**23, np.float64: 2**52}


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, h, w] float64 (`rfcn.ops.roi_align`)."""
    maps = features.detach().double().numpy()
    pooled = np.zeros((len(rois), maps.shape[1], *output_size))
    for r, picture, samples in each_roi(
        rois, output_size, spatial_scale, sampling_ratio, aligned, maps.shape[2:]
    ):
        for y, x, weight in samples:
            # [D, h, n, w, m]: the n x m samples of a bin, each from four cells
            pooled[r] += (maps[picture][:, y, x] * weight).sum(axis=(2, 4))
    return torch.from_numpy(pooled)


def roi_align_backward(
    gradient: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    shape: tuple[int, ...],
) -> Tensor:
    """gradient: [R, D, h, w] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()
    result = np.zeros(shape)
    for r, picture, samples in each_roi(
        rois, given.shape[2:], spatial_scale, sampling_ratio, aligned, shape[2:]
    ):
        for y, x, weight in samples:
            shares = given[r][:, :, None, :, None] * weight
            np.add.at(result[picture], (slice(None), y, x), shares)  # type: ignore[arg-type]
    return torch.from_numpy(result)


def each_roi(rois, output_size, scale, ratio, aligned, map_size):  # type: ignore[no-untyped-def]
    """(RoI, picture, four of (rows, columns, weights)), as arrays over [h, n, w, m]: h x w bins of
    n x m samples. The weights of a bin's samples are already divided by their number."""
    number = rois.numpy().dtype.type
    if min(map_size) == 0:
        return
    for r, (index, x1, y1, x2, y2) in enumerate(rois.numpy()):
        sides = ((y1, y2, output_size[0], map_size[0]), (x1, x2, output_size[1], map_size[1]))
        rows, columns = (
            two_cells(samples_of(low, high, number(scale), bins, ratio, aligned, cells), cells)
            for low, high, bins, cells in sides
        )
        yield (
            r,
            int(index),
            [
                (y[:, :, None, None], x[None, None], wy[:, :, None, None] * wx)
                for y, wy in rows
                for x, wx in columns
            ],
        )


def samples_of(low, high, scale, bins, ratio, aligned, cells):  # type: ignore[no-untyped-def]
    """Where along one side the samples lie, [bins, samples] in cells, and how many a bin has. Those
    outside the map for every bin add nothing and are left out; of very many, all but the thousands
    around the map are not even looked at."""
    number = type(scale)
    with np.errstate(over="ignore", invalid="ignore"):  # a side may be longer than a number
        shift = number(0.5 if aligned else 0)
        start, end = low * scale - shift, high * scale - shift
        length = end - start if aligned else max(end - start, number(1))
        size = length / number(bins)
        count = ratio or (math.ceil(size) if 0 < size <= MOST_SAMPLES[number] else 0)
        bin_start = np.arange(bins).astype(number)[:, None] * size + start
        sample = np.arange(min(count, 4 * cells + 5000))[None]
        if count > sample.size:
            near = (-1 - bin_start.astype(float)) * count / size - 1000
            sample = sample + near.clip(0, count).astype(np.int64)
        positions = bin_start + (sample.astype(number) + number(0.5)) * size / number(max(count, 1))
        positions = np.where(sample < count, positions, np.nan)
        seen = ((positions >= -1) & (positions <= cells)).any(axis=0)  # by some bin
        return positions[:, seen], count


def two_cells(samples, limit):  # type: ignore[no-untyped-def]
    """The cells below and above each sample, and their shares of the mean."""
    positions, count = samples
    on_map = (positions >= -1) & (positions <= limit)
    inside = np.where(on_map, positions, 0).clip(0, limit - 1)
    below = np.floor(inside).astype(int)
    above = np.minimum(below + 1, limit - 1)
    nearness = (inside - below.astype(inside.dtype)).astype(float)
    share = on_map / max(1, count)
    return (below, (1 - nearness) * share), (above, nearness * share)
