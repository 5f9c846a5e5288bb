"""psroi_align from its definition: every sample visited. Positions in the dtype of the RoIs, the
rest in float64."""

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.roi_align import each_roi


def psroi_align(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k] float64 (`rfcn.ops.psroi_align`)."""
    maps = features.detach().double().numpy()
    maps = maps.reshape(len(maps), maps.shape[1] // (k * k), k, k, *maps.shape[2:])
    pooled = np.zeros((len(rois), *maps.shape[1:4]))
    i, j = np.arange(k)[:, None, None, None], np.arange(k)[None, None, :, None]
    for r, picture, samples in each_roi(
        rois, (k, k), spatial_scale, sampling_ratio, True, maps.shape[4:]
    ):
        for y, x, weight in samples:
            # [C, k, n, k, m]: the n x m samples of a bin, from the bin's own map
            pooled[r] += (maps[picture][:, i, j, y, x] * weight).sum(axis=(2, 4))
    return torch.from_numpy(pooled)


def psroi_align_backward(
    gradient: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    shape: tuple[int, ...],
) -> Tensor:
    """gradient: [R, C, k, k] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()
    classes, k = given.shape[1:3]
    result = np.zeros(shape)
    maps = result.reshape(shape[0], classes, k, k, *shape[2:])
    i, j = np.arange(k)[:, None, None, None], np.arange(k)[None, None, :, None]
    for r, picture, samples in each_roi(
        rois, (k, k), spatial_scale, sampling_ratio, True, shape[2:]
    ):
        for y, x, weight in samples:
            shares = given[r][:, :, None, :, None] * weight
            np.add.at(maps[picture], (slice(None), i, j, y, x), shares)  # type: ignore[arg-type]
    return torch.from_numpy(result)
