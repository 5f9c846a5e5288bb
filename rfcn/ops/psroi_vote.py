"""The vote of position-sensitive bins: pooling and averaging in one (arXiv 1605.06409, section 3).

    vote[r, c] = the mean over all bins (i, j) of psroi_pool(features, rois)[r, c, i, j]

What R-FCN wants of its score maps. The k x k bins of a RoI are never written, which is most of what
`psroi_pool` writes, and the gradient is one number for a RoI and class instead of k x k. A bin
without cells counts 0 in the mean, which is always over k * k bins.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.psroi_vote as plain
from rfcn.ops.checks import check_maps_and_rois, score_maps, semantics_number


def psroi_vote(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """Pools each RoI into k x k position-sensitive bins and averages them.

    Args:
        features: [N, C*k*k, H, W] score maps, or any view [N, C, k, k, H, W] of them.
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2), corners in picture pixels.
        k: bins a side.
        spatial_scale: cells a pixel, 1 / stride.
        semantics: "msra", "paper" or "torchvision": whose corners and rounding.

    All five are those of `rfcn.ops.psroi_pool`, with its dtypes, memory orders and errors.

    Returns:
        [R, C] in the dtype of `features`: `psroi_pool(...).mean((2, 3))` up to rounding, and nearer
        to the exact mean in half precision, since bins are not rounded to it first.

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run.
    """
    maps = score_maps(features, k)
    check_maps_and_rois(features, rois, spatial_scale)
    number = semantics_number(semantics)
    if library.is_compiled("psroi_vote", features.device):
        rows = rois.detach().contiguous()
        return torch.ops.rfcn.psroi_vote(maps, rows, spatial_scale, number)
    return plain.psroi_vote(maps, rois.detach(), spatial_scale, number)


class PSRoIVote(nn.Module):
    """`psroi_vote` with its numbers kept: k bins a side, `spatial_scale` cells a pixel."""

    def __init__(self, k: int, spatial_scale: float, semantics: str = "msra") -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale
        self.semantics = semantics

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C]; see `psroi_vote`."""
        return psroi_vote(features, rois, self.k, self.spatial_scale, self.semantics)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"k={self.k}, spatial_scale={self.spatial_scale:g}, semantics={self.semantics!r}"


def _fake(features: Tensor, rois: Tensor, *numbers: object) -> Tensor:
    """[R, C]."""
    return features.new_empty(rois.shape[0], features.shape[1])


linear.register("psroi_vote", _fake)
