"""Average pooling of RoIs: the bins of `psroi_pool`, every channel in every bin.

    pooled[r, d, i, j] = mean of features[d] over the cells of bin (i, j) of RoI r

Averaging commutes with a 1x1 convolution, since both are linear: pooling the maps that a
convolution makes (what R-FCN does) equals multiplying the pooled features with its weights. Where
there are few RoIs and many classes the second is cheaper (`rfcn.models.heads.rfcn`). A bin without
cells gives 0 and passes no gradient; so its convolved maps give 0 and not the bias.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.roi_average_pool as plain
from rfcn.ops.checks import check_maps_and_rois, semantics_number


def roi_average_pool(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: str = "msra"
) -> Tensor:
    """Averages every channel of the features over each of k x k bins of each RoI.

    Args:
        features: [N, D, H, W], float32, float64, float16 or bfloat16; sums are kept in float32 or
            wider. Any strides; fastest channels-last, which other orders are copied to.
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): corners in picture pixels, as
            `psroi_pool` takes them. float32 or float64, whatever `features` are.
        k: bins a side. spatial_scale: cells a pixel, 1 / stride.
        semantics: "msra", "paper" or "torchvision": whose corners and rounding, as `psroi_pool`.

    Returns:
        [R, D, k, k] in the dtype of `features`, with the channels of a bin side by side in memory:
        `permute(0, 2, 3, 1).flatten(1)` is a view, the [R, k*k*D] that a matrix product wants.

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run.

    Raises:
        ValueError: a shape, dtype, device, k, scale or semantics does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    if k < 1:
        raise ValueError(f"k: must be at least 1, not {k}")
    if features.dim() != 4:
        shape = list(features.shape)
        raise ValueError(f"features: the shape must be [N, D, H, W], not {shape}")
    check_maps_and_rois(features, rois, spatial_scale)
    number = semantics_number(semantics)
    if library.is_compiled("roi_average_pool", features.device):
        rows = rois.detach().contiguous()
        return torch.ops.rfcn.roi_average_pool(features, rows, k, spatial_scale, number)
    return plain.roi_average_pool(features, rois.detach(), k, spatial_scale, number)


class RoIAveragePool(nn.Module):
    """`roi_average_pool` with its numbers kept: k bins a side, `spatial_scale` cells a pixel."""

    def __init__(self, k: int, spatial_scale: float, semantics: str = "msra") -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale
        self.semantics = semantics

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, D, H, W], rois: [R, 5] -> [R, D, k, k]; see `roi_average_pool`."""
        return roi_average_pool(features, rois, self.k, self.spatial_scale, self.semantics)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"k={self.k}, spatial_scale={self.spatial_scale:g}, semantics={self.semantics!r}"


def _fake(features: Tensor, rois: Tensor, k: int, *numbers: object) -> Tensor:
    """[R, D, k, k] whose memory order is [R, k, k, D]."""
    channels = features.shape[1]
    shape = (rois.shape[0], channels, k, k)
    return features.new_empty_strided(shape, (k * k * channels, 1, k * channels, channels))


linear.register("roi_average_pool", _fake)
