"""psroi_vote from its definition: the mean of all k * k bins, where one without cells counts 0."""

import numpy as np
import torch
from torch import Tensor

from rfcn.ops.reference.psroi_pool import bins


def psroi_vote(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C] float64 (`rfcn.ops.psroi_vote`)."""
    maps = features.detach().double().numpy()
    classes = maps.shape[1] // (k * k)
    votes = np.zeros((len(rois), classes))
    for r, i, j, cells in bins(rois, k, spatial_scale, semantics, *maps.shape[2:]):
        picture = int(rois[r, 0])
        for c in range(classes):
            votes[r, c] += maps[picture, (c * k + i) * k + j][cells].mean() / (k * k)
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
    given = gradient.detach().double().numpy()
    result = np.zeros(shape)
    for r, i, j, cells in bins(rois, k, spatial_scale, semantics, *shape[2:]):
        picture = int(rois[r, 0])
        for c in range(given.shape[1]):
            plane = result[picture, (c * k + i) * k + j]
            plane[cells] += given[r, c] / (k * k) / plane[cells].size
    return torch.from_numpy(result)
