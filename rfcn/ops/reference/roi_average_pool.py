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
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, maps.shape):
        pooled[r, :, i, j] = maps[picture, :, rows, columns].mean(axis=(1, 2))
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
    given = gradient.detach().double().numpy()[..., None, None]
    result = np.zeros(shape)
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, shape):
        cells = result[picture, :, rows, columns]
        cells += given[r, :, i, j] / cells[0].size
    return torch.from_numpy(result)
