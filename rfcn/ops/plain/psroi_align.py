"""psroi_align in plain PyTorch: exact, for any device, differentiable, without a compiler."""

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois
from rfcn.ops.plain.bilinear import Sampling, at_hand, bilinear_means


def psroi_align(
    features: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k]; see `rfcn.ops.psroi_align`."""
    k = features.shape[2]
    if at_hand(rois):
        check_rois(rois, features.shape[0])
    if features.numel() == 0 or rois.shape[0] == 0:
        shape = (rois.shape[0], features.shape[1], k, k)
        return features.new_zeros(shape) + 0 * features.sum()
    sampling = Sampling(spatial_scale, sampling_ratio, aligned=True)
    pooled = bilinear_means(features, rois, (k, k), sampling, product)
    # Same memory order as the compiled operator: the classes of a bin side by side.
    return pooled.to(features.dtype).permute(0, 3, 1, 2)


def product(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[C, k, k, H, W], [R, k, H], [R, k, W] -> [R, k, k, C]; bin (i, j) reads maps (i, j)."""
    first = torch.einsum("riy,cijyx->rijcx", rows, maps)
    return torch.einsum("rijcx,rjx->rijc", first, columns)
