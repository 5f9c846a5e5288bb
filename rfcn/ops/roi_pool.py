"""RoI max pooling: what Fast and Faster R-CNN pool with (arXiv 1504.08083, section 2.1).

A RoI is cut into h x w bins, and each bin gives the largest value of every channel over its cells.
Corners, rounding and empty bins are those of the released Caffe code and of torchvision:

    start = round(x1 * scale),  end = round(x2 * scale),  bin = max(end - start + 1, 1) / w
    cells of bin p: floor(p * bin) + start <= cell < ceil((p + 1) * bin) + start, cut to the map

with round() half away from zero. A bin without cells gives 0 and passes no gradient; otherwise the
gradient goes to the first cell, row by row, that holds the largest value.
"""

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.plain.roi_pool as plain
from rfcn.ops.checks import check_maps_and_rois, two_sides


def roi_pool(
    features: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float
) -> Tensor:
    """Pools each RoI into h x w bins, each the maximum of its cells.

    Args:
        features: [N, D, H, W], float32, float64, float16 or bfloat16, any strides.
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): inclusive corners in picture pixels
            (`boxes.to_rois(..., inclusive=True)`). float32 or float64, whatever `features` are.
        output_size: (h, w), the bins of a column and of a row, or one number for both.
        spatial_scale: cells a pixel, 1 / stride.

    Returns:
        [R, D, h, w] in the dtype of `features`; channels-last in memory where they are, plain
        otherwise. A bin with a NaN gives NaN (Caffe and torchvision lose it: their comparison
        with NaN is always false).

    Gradients of any order reach `features`: with the winning cells fixed the operator is linear in
    them. None reaches `rois`. Forward and backward give the same bits at every run.

    Raises:
        ValueError: a shape, dtype, device, size or scale does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    size = two_sides(output_size)
    if features.dim() != 4:
        shape = list(features.shape)
        raise ValueError(f"features: the shape must be [N, D, H, W], not {shape}")
    check_maps_and_rois(features, rois, spatial_scale)
    rois = rois.detach()
    if not library.is_compiled("roi_pool", features.device):
        return plain.roi_pool(features, rois, size, spatial_scale)
    with_cells = torch.is_grad_enabled() and features.requires_grad
    return torch.ops.rfcn.roi_pool(features, rois.contiguous(), *size, spatial_scale, with_cells)[0]


class RoIPool(nn.Module):
    """`roi_pool` with its numbers kept: h x w bins, `spatial_scale` cells a pixel."""

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, D, H, W], rois: [R, 5] -> [R, D, h, w]; see `roi_pool`."""
        return roi_pool(features, rois, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale:g}"


def _fake_forward(
    features: Tensor, rois: Tensor, height: int, width: int, spatial_scale: float, with_cells: bool
) -> tuple[Tensor, Tensor]:
    """The maxima [R, D, h, w] and the int32 cells they come from, or none of them."""
    shape = (rois.shape[0], features.shape[1], height, width)
    stride = (shape[1] * height * width, height * width, width, 1)
    if features.stride(1) == 1:
        stride = (shape[1] * height * width, 1, width * shape[1], shape[1])
    pooled = features.new_empty_strided(shape, stride)
    if not with_cells:
        return pooled, features.new_empty(0, dtype=torch.int32)
    return pooled, features.new_empty_strided(shape, stride, dtype=torch.int32)


def _fake_backward(
    gradient: Tensor,
    cells: Tensor,
    rois: Tensor,
    spatial_scale: float,
    size: list[int],
    stride: list[int],
) -> Tensor:
    return gradient.new_empty_strided(size, stride)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, rois, _, _, ctx.spatial_scale, _ = inputs
    ctx.save_for_backward(rois, output[1])
    ctx.set_materialize_grads(False)  # or as many zeros are made for the cells, at every backward
    ctx.size = list(features.shape)
    # The gradient takes the memory order of the maps; overlapping ones (expanded) get a plain one.
    ctx.stride = list(torch.empty_like(features, device="meta").stride())


def _backward(ctx, gradient: Tensor | None, _):  # type: ignore[no-untyped-def]
    if gradient is None:
        return None, None, None, None, None, None
    rois, cells = ctx.saved_tensors
    maps = torch.ops.rfcn.roi_pool_backward(
        gradient, cells, rois, ctx.spatial_scale, ctx.size, ctx.stride
    )
    return maps, None, None, None, None, None


def _save_for_second(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[1], inputs[2])


def _second_backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    """With the cells fixed the backward is linear too, and its transpose looks them up."""
    cells, rois = ctx.saved_tensors
    return plain.look_up(gradient, rois, cells), None, None, None, None, None


if library.declared("roi_pool"):
    torch.library.register_fake("rfcn::roi_pool", _fake_forward)
    torch.library.register_fake("rfcn::roi_pool_backward", _fake_backward)
    torch.library.register_autograd("rfcn::roi_pool", _backward, setup_context=_save)
    torch.library.register_autograd(
        "rfcn::roi_pool_backward", _second_backward, setup_context=_save_for_second
    )
