"""roi_average_pool in plain PyTorch: psroi_pool's, with one map for all bins of a channel."""

from torch import Tensor

from rfcn.ops.plain.psroi_pool import pool_bins


def roi_average_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: int = 0
) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, k, k]; see `rfcn.ops.roi_average_pool`."""
    return pool_bins(features[:, :, None, None], rois, k, spatial_scale, semantics)
