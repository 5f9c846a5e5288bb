"""psroi_vote in plain PyTorch: the bins of psroi_pool, averaged some RoIs at a time."""

from torch import Tensor

from rfcn.ops.plain.psroi_pool import bins_of_rois, in_chunks


def psroi_vote(features: Tensor, rois: Tensor, spatial_scale: float, semantics: int = 0) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C]; see `rfcn.ops.psroi_vote`."""
    cells = bins_of_rois(features, rois, features.shape[2], spatial_scale, semantics)
    return in_chunks(features, cells, lambda means: means.mean((1, 2)))
