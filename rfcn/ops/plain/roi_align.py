"""roi_align in plain PyTorch: exact, for any device, differentiable, without a compiler."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois
from rfcn.ops.plain.bilinear import Sampling, at_hand, bilinear_means


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, h, w]; see `rfcn.ops.roi_align`."""
    if at_hand(rois):
        check_rois(rois, features.shape[0])
    if features.numel() == 0 or rois.shape[0] == 0:
        shape = (rois.shape[0], features.shape[1], *output_size)
        return features.new_zeros(shape) + 0 * features.sum()
    sampling = Sampling(spatial_scale, sampling_ratio, aligned)
    pooled = bilinear_means(features, rois, output_size, sampling, product).to(features.dtype)
    # Same memory order as the compiled operator: that of the features.
    if features.stride(1) == 1:
        return pooled.permute(0, 1, 3, 2).contiguous().permute(0, 3, 1, 2)
    return pooled.permute(0, 2, 1, 3).contiguous()


def product(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[D, H, W], [R, h, H], [R, w, W] -> [R, h, D, w]."""
    # No second einsum: without RoIs, ONNX Runtime divides by zero in it.
    return torch.einsum("riy,cyx->ricx", rows, maps) @ columns.mT[:, None]
