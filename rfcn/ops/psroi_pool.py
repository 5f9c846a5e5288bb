"""Position-sensitive RoI pooling, the operator R-FCN is named after (arXiv 1605.06409, section 3).

A RoI is cut into k x k bins, and bin (i, j) of class c is the mean of score map (c, i, j) over the
cells of that bin alone. It is cut in three ways in the world, of which `semantics` names one. Along
each side, with round() half away from zero:

    msra          start = round(x1) * scale,  end = (round(x2) + 1) * scale
                  bin = max(end - start, 0.1) / k
                  floor(p * bin + start) <= cell of bin p < ceil((p + 1) * bin + start)
    paper         start = round(round(x1) * scale),  end = round((round(x2) + 1) * scale)
    torchvision   start = round(x1 * scale),  end = round(x2 * scale)
      both        bin = max(end - start, 1) / k
                  start + floor(p * bin) <= cell of bin p < start + ceil((p + 1) * bin)

and the cells are cut to the map. A bin without cells gives 0 and passes no gradient. `msra` is the
released code and the default. See docs/ops.md for where the three differ.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.psroi_pool as plain
from rfcn.ops.checks import check_maps_and_rois, score_maps, semantics_number


def psroi_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """Pools each RoI into k x k position-sensitive bins.

    Args:
        features: [N, C*k*k, H, W] score maps, channel (c*k + i)*k + j for class c, bin row i, bin
            column j; or any view [N, C, k, k, H, W] of them. float32, float64, float16 or bfloat16;
            sums are kept in float32 or wider. Any strides; fastest when the classes of a cell lie
            side by side (channels-last maps whose channels are ordered (i, j, c)).
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2), corners in picture pixels: inclusive
            for msra and paper (`boxes.to_rois(..., inclusive=True)`), half-open for torchvision.
            float32 or float64, whatever `features` are.
        k: bins a side.
        spatial_scale: cells a pixel, 1 / stride.
        semantics: "msra", "paper" or "torchvision": whose corners and rounding.

    Returns:
        [R, C, k, k] in the dtype of `features`, with the classes of a bin side by side in memory.

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run. Under autocast the maps come in half
    precision and the RoIs stay float32. Where only the mean of the bins is wanted, `psroi_vote`
    gives it without writing them.

    Raises:
        ValueError: a shape, dtype, device, k, scale or semantics does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    maps = score_maps(features, k)
    check_maps_and_rois(features, rois, spatial_scale)
    number = semantics_number(semantics)
    if library.is_compiled("psroi_pool", features.device):
        rows = rois.detach().contiguous()
        return torch.ops.rfcn.psroi_pool(maps, rows, spatial_scale, number)
    return plain.psroi_pool(maps, rois.detach(), spatial_scale, number)


class PSRoIPool(nn.Module):
    """`psroi_pool` with its numbers kept: k bins a side, `spatial_scale` cells a pixel."""

    def __init__(self, k: int, spatial_scale: float, semantics: str = "msra") -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale
        self.semantics = semantics

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, C*k*k, H, W], rois: [R, 5] -> [R, C, k, k]; see `psroi_pool`."""
        return psroi_pool(features, rois, self.k, self.spatial_scale, self.semantics)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"k={self.k}, spatial_scale={self.spatial_scale:g}, semantics={self.semantics!r}"


def _fake(features: Tensor, rois: Tensor, *numbers: object) -> Tensor:
    """[R, C, k, k] whose memory order is [R, k, k, C]."""
    _, classes, k, _, _, _ = features.shape
    shape = (rois.shape[0], classes, k, k)
    return features.new_empty_strided(shape, (k * k * classes, 1, k * classes, classes))


linear.register("psroi_pool", _fake)
