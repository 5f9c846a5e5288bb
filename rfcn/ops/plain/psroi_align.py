"""psroi_align in plain PyTorch: exact, for any device, differentiable, without a compiler."""

from torch import Tensor

from rfcn.ops.checks import check_rois
from rfcn.ops.plain.bilinear import Products, Sampling, at_hand, bilinear_means

PRODUCTS = Products("riy,cijyx->rijcx", "rijcx,rjx->rijc")


def psroi_align(features: Tensor, rois: Tensor, sampling: Sampling) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k]; see `rfcn.ops.psroi_align`."""
    k = features.shape[2]
    if at_hand(rois):
        check_rois(rois, features.shape[0])
    if features.numel() == 0 or rois.shape[0] == 0:
        shape = (rois.shape[0], features.shape[1], k, k)
        return features.new_zeros(shape) + 0 * features.sum()
    pooled = bilinear_means(features, rois, (k, k), sampling, PRODUCTS)
    # Same memory order as the compiled operator: the classes of a bin side by side.
    return pooled.to(features.dtype).permute(0, 3, 1, 2)
