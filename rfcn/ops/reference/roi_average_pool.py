"""roi_average_pool from its definition: the bins of psroi_pool, every channel for itself."""

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.psroi_pool import bins


def roi_average_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, k, k] float64."""
    maps = features.detach().double().numpy()
    pooled = np.zeros((len(rois), maps.shape[1], k, k))
    for r, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, *maps.shape[2:]):
        for channel, plane in enumerate(maps[int(rois[r, 0])]):
            pooled[r, channel, i, j] = plane[rows, columns].mean()
    return torch.from_numpy(pooled)


def roi_average_pool_backward(
    gradient: Tensor,
    rois: Tensor,
    k: int,
    spatial_scale: float,
    shape: tuple[int, ...],
    semantics: str = "msra",
) -> Tensor:
    """gradient: [R, D, k, k] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()
    result = np.zeros(shape)
    for r, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, *shape[2:]):
        for channel, plane in enumerate(result[int(rois[r, 0])]):
            plane[rows, columns] += given[r, channel, i, j] / plane[rows, columns].size
    return torch.from_numpy(result)
