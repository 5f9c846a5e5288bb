"""Position-sensitive RoI pooling, the operator R-FCN is named after (arXiv 1605.06409, section 3).

A RoI is cut into k x k bins, and bin (i, j) of class c is the mean of score map (c, i, j) over the
cells of that bin alone. Corners, rounding and empty bins are those of the released code (`msra`):

    start = round(x1) * scale,  end = (round(x2) + 1) * scale,  bin = max(end - start, 0.1) / k
    cells of bin p: floor(p * bin + start) <= cell < ceil((p + 1) * bin + start), cut to the map

with round() half away from zero. A bin without cells gives 0 and passes no gradient.
See docs/ops.md for how other implementations differ.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.psroi_pool as plain
from rfcn.ops.checks import check_maps_and_rois, score_maps


def psroi_pool(features: Tensor, rois: Tensor, k: int, spatial_scale: float) -> Tensor:
    """Pools each RoI into k x k position-sensitive bins.

    Args:
        features: [N, C*k*k, H, W] score maps, channel (c*k + i)*k + j for class c, bin row i, bin
            column j; or any view [N, C, k, k, H, W] of them. float32, float64, float16 or bfloat16;
            sums are kept in float32 or wider. Any strides; fastest when the classes of a cell lie
            side by side (channels-last maps whose channels are ordered (i, j, c)).
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): inclusive corners in picture pixels
            (`boxes.to_rois(..., inclusive=True)`). float32 or float64, whatever `features` are.
        k: bins a side.
        spatial_scale: cells a pixel, 1 / stride.

    Returns:
        [R, C, k, k] in the dtype of `features`, with the classes of a bin side by side in memory.

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run. Under autocast the maps come in half
    precision and the RoIs stay float32.

    Raises:
        ValueError: a shape, dtype, device, k or scale does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    maps = score_maps(features, k)
    check_maps_and_rois(features, rois, spatial_scale)
    if library.is_compiled("psroi_pool", features.device):
        return torch.ops.rfcn.psroi_pool(maps, rois.detach().contiguous(), spatial_scale)
    return plain.psroi_pool(maps, rois.detach(), spatial_scale)


class PSRoIPool(nn.Module):
    """`psroi_pool` with its two numbers kept: k bins a side, `spatial_scale` cells a pixel."""

    def __init__(self, k: int, spatial_scale: float) -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k]; see `psroi_pool`."""
        return psroi_pool(features, rois, self.k, self.spatial_scale)

    def extra_repr(self) -> str:
        """The two numbers."""
        return f"k={self.k}, spatial_scale={self.spatial_scale:g}"


def _fake(features: Tensor, rois: Tensor, *numbers: object) -> Tensor:
    """[R, C, k, k] whose memory order is [R, k, k, C]."""
    _, classes, k, _, _, _ = features.shape
    shape = (rois.shape[0], classes, k, k)
    return features.new_empty_strided(shape, (k * k * classes, 1, k * classes, classes))


linear.register("psroi_pool", _fake)
