"""RoIAlign: bins averaged from bilinear samples, nothing rounded (arXiv 1703.06870, section 3).

A RoI is cut into h x w bins, and each bin gives the mean of n x m samples of every channel. Along
one axis, in cells and with cell c centred at c:

    start = x1 * scale - 0.5,  end = x2 * scale - 0.5,  bin = (end - start) / w
    sample s of bin p lies at start + p * bin + (s + 0.5) * bin / m

A sample beyond an outer centre by no more than a cell takes the outer cell; further out it adds 0
and still counts in the mean. These are the figures of torchvision's `roi_align`.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.linear as linear
import rfcn.ops.plain.roi_align as plain
from rfcn.ops.checks import check_maps_and_rois, check_sampling_ratio, two_sides


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Tensor:
    """Averages each RoI into h x w bins of bilinear samples.

    Args:
        features: [N, D, H, W], float32, float64, float16 or bfloat16; sums are kept in float32 or
            wider. Any strides; fastest in planes or channels-last.
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): half-open corners in picture pixels
            (`boxes.to_rois(..., inclusive=False)`). float32 or float64, whatever `features` are;
            positions are computed in that dtype.
        output_size: (h, w), the bins of a column and of a row, or one number for both.
        spatial_scale: cells a pixel, 1 / stride.
        sampling_ratio: samples of a bin along each axis, 1..1024; 0: one for each cell of the bin's
            length, rounded up.
        aligned: True shifts RoIs by half a cell, so that a pixel's centre falls on a cell's. False,
            as in the first implementations, does not, and takes a side as at least one cell long.

    Returns:
        [R, D, h, w] in the dtype of `features`; channels-last in memory where they are, plain
        otherwise. A bin without samples gives 0: under sampling_ratio 0 one of no or reversed
        length, or one of more than 2**23 cells (2**52 with float64 RoIs).

    The operator is linear in `features`: gradients of any order reach them. None reaches `rois`.
    Forward and backward give the same bits at every run. A cell that is not finite reaches the bins
    in which it has a weight, and no others.

    Raises:
        ValueError: a shape, dtype, device, size, scale or ratio does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    size = two_sides(output_size)
    if features.dim() != 4:
        shape = list(features.shape)
        raise ValueError(f"features: the shape must be [N, D, H, W], not {shape}")
    check_maps_and_rois(features, rois, spatial_scale)
    check_sampling_ratio(sampling_ratio)
    rois = rois.detach()
    numbers = (list(size), spatial_scale, sampling_ratio, aligned)
    if library.is_compiled("roi_align", features.device):
        return torch.ops.rfcn.roi_align(features, rois.contiguous(), *numbers)
    return plain.roi_align(features, rois, *numbers)


class RoIAlign(nn.Module):
    """`roi_align` with its numbers kept."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int = 2,
        aligned: bool = True,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, D, H, W], rois: [R, 5] -> [R, D, h, w]; see `roi_align`."""
        return roi_align(
            features, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )

    def extra_repr(self) -> str:
        """The numbers."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale:g}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


def _fake(features: Tensor, rois: Tensor, output_size: list[int], *numbers: object) -> Tensor:
    """[R, D, h, w] in the memory order of the features."""
    height, width = output_size
    channels = features.shape[1]
    shape = (rois.shape[0], channels, height, width)
    if features.stride(1) == 1:
        stride = (height * width * channels, 1, width * channels, channels)
        return features.new_empty_strided(shape, stride)
    return features.new_empty(shape)


linear.register("roi_align", _fake)
