"""Position-sensitive RoIAlign: the bins of `psroi_pool`, averaged from bilinear samples.

A RoI is cut into k x k bins, and bin (i, j) of class c is the mean of n x n samples of score map
(c, i, j). Where the samples lie, and what they read, is as in `roi_align` with `aligned`: nothing
is rounded, and nothing added to the corners. These are the figures of torchvision's `ps_roi_align`.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.psroi_align as plain
from rfcn.ops.checks import check_maps_and_rois, check_sampling_ratio, score_maps


def psroi_align(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, sampling_ratio: int = 2
) -> Tensor:
    """Averages each RoI into k x k position-sensitive bins of bilinear samples.

    Args:
        features: [N, C*k*k, H, W] score maps, channel (c*k + i)*k + j for class c, bin row i, bin
            column j; or any view [N, C, k, k, H, W] of them. float32, float64, float16 or bfloat16;
            sums are kept in float32 or wider. Any strides; fastest when the classes of a cell lie
            side by side (channels-last maps whose channels are ordered (i, j, c)).
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): half-open corners in picture pixels
            (`boxes.to_rois(..., inclusive=False)`). float32 or float64, whatever `features` are;
            positions are computed in that dtype.
        k: bins a side.
        spatial_scale: cells a pixel, 1 / stride.
        sampling_ratio: samples of a bin along each axis, 1..1024; 0: one for each cell of the bin's
            length, rounded up.

    Returns:
        [R, C, k, k] in the dtype of `features`, with the classes of a bin side by side in memory. A
        bin without samples gives 0: under sampling_ratio 0 one of no or reversed length, or one of
        more than 2**23 cells (2**52 with float64 RoIs).

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run. A cell that is not finite reaches the bins
    in which it has a weight, and no others.

    Raises:
        ValueError: a shape, dtype, device, k, scale or ratio does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    maps = score_maps(features, k)
    check_maps_and_rois(features, rois, spatial_scale)
    check_sampling_ratio(sampling_ratio)
    rois = rois.detach()
    if library.is_compiled("psroi_align", features.device):
        return torch.ops.rfcn.psroi_align(maps, rois.contiguous(), spatial_scale, sampling_ratio)
    return plain.psroi_align(maps, rois, spatial_scale, sampling_ratio)


class PSRoIAlign(nn.Module):
    """`psroi_align` with its numbers kept."""

    def __init__(self, k: int, spatial_scale: float, sampling_ratio: int = 2) -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k]; see `psroi_align`."""
        return psroi_align(features, rois, self.k, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self) -> str:
        """The numbers."""
        return (
            f"k={self.k}, spatial_scale={self.spatial_scale:g}, "
            f"sampling_ratio={self.sampling_ratio}"
        )


def _fake(features: Tensor, rois: Tensor, *numbers: object) -> Tensor:
    """[R, C, k, k] whose memory order is [R, k, k, C]."""
    _, classes, k, _, _, _ = features.shape
    shape = (rois.shape[0], classes, k, k)
    return features.new_empty_strided(shape, (k * k * classes, 1, k * classes, classes))


linear.register("psroi_align", _fake)
