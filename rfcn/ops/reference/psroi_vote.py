"""psroi_vote from its definition: the mean of all k * k bins, where one without cells counts 0."""

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.psroi_pool import bins, maps_by_bin


def psroi_vote(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C] float64 (`rfcn.ops.psroi_vote`)."""
    maps = maps_by_bin(features.detach().double().numpy(), k)
    votes = np.zeros((len(rois), maps.shape[1]))
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, maps.shape):
        votes[r] += maps[picture, :, i, j, rows, columns].mean(axis=(1, 2)) / (k * k)
    return torch.from_numpy(votes)


def psroi_vote_backward(
    gradient: Tensor,
    rois: Tensor,
    k: int,
    spatial_scale: float,
    shape: tuple[int, ...],
    semantics: str = "msra",
) -> Tensor:
    """gradient: [R, C] -> the gradient of features of `shape`, float64."""
    given = gradient.detach().double().numpy()[..., None, None]
    result = np.zeros(shape)
    maps = maps_by_bin(result, k)
    for r, picture, i, j, (rows, columns) in bins(rois, k, spatial_scale, semantics, shape):
        cells = maps[picture, :, i, j, rows, columns]
        cells += given[r] / (k * k) / cells[0].size
    return torch.from_numpy(result)
