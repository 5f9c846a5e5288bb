"""roi_align in plain PyTorch: exact, for any device, differentiable, without a compiler."""

from torch import Tensor

from rfcn.ops.checks import check_rois
from rfcn.ops.plain.bilinear import Products, Sampling, at_hand, bilinear_means

PRODUCTS = Products("riy,cyx->ricx", "ricx,rjx->rcij")
CHANNELS_LAST = Products("riy,cyx->ricx", "ricx,rjx->rijc")


def roi_align(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], sampling: Sampling
) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, h, w]; see `rfcn.ops.roi_align`."""
    if at_hand(rois):
        check_rois(rois, features.shape[0])
    if features.numel() == 0 or rois.shape[0] == 0:
        shape = (rois.shape[0], features.shape[1], *output_size)
        return features.new_zeros(shape) + 0 * features.sum()
    # Same memory order as the compiled operator: that of the features.
    if features.stride(1) == 1:
        pooled = bilinear_means(features, rois, output_size, sampling, CHANNELS_LAST)
        return pooled.to(features.dtype).permute(0, 3, 1, 2)
    return bilinear_means(features, rois, output_size, sampling, PRODUCTS).to(features.dtype)
