"""Position-sensitive RoI pooling, the operator R-FCN is named after (arXiv 1605.06409, section 3).

A RoI is cut into k x k bins, and bin (i, j) of class c is the mean of score map (c, i, j) over the
cells of that bin alone. Corners, rounding and empty bins are those of the released code (`msra`):

    start = round(x1) * scale,  end = (round(x2) + 1) * scale,  bin = max(end - start, 0.1) / k
    cells of bin p: floor(p * bin + start) <= cell < ceil((p + 1) * bin + start), cut to the map

with round() half away from zero. A bin without cells gives 0 and passes no gradient.
See docs/ops.md for how other implementations differ.
"""

import math

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.plain.psroi_pool as plain
from rfcn.ops.checks import DEBUG, check_dtype, check_rois, check_rows

MAP_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


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
    maps = _six_dimensions(features, k)
    check_dtype("features", features, MAP_DTYPES)
    check_rows("rois", rois, 5, features)
    if not 0 < spatial_scale < math.inf:
        raise ValueError(f"spatial_scale: must be a positive number, not {spatial_scale}")
    if DEBUG and rois.is_cuda:
        check_rois(rois, features.shape[0])
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


def _six_dimensions(features: Tensor, k: int) -> Tensor:
    """The maps as [N, C, k, k, H, W]: a view, never a copy."""
    if k < 1:
        raise ValueError(f"k: must be at least 1, not {k}")
    shape = list(features.shape)
    if features.dim() == 6 and shape[2] == k and shape[3] == k:
        return features
    if features.dim() != 4:
        raise ValueError(f"features: the shape must be [N, C*k*k, H, W] with k = {k}, not {shape}")
    if shape[1] % (k * k):
        raise ValueError(
            f"features: {shape[1]} channels are not a multiple of k*k = {k * k} (shape {shape})"
        )
    return features.unflatten(1, (shape[1] // (k * k), k, k))


def _fake_forward(features: Tensor, rois: Tensor, spatial_scale: float) -> Tensor:
    """[R, C, k, k] whose memory order is [R, k, k, C]."""
    _, classes, k, _, _, _ = features.shape
    shape = (rois.shape[0], classes, k, k)
    return features.new_empty_strided(shape, (k * k * classes, 1, k * classes, classes))


def _fake_backward(
    gradient: Tensor, rois: Tensor, spatial_scale: float, size: list[int], stride: list[int]
) -> Tensor:
    return gradient.new_empty_strided(size, stride)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, rois, ctx.spatial_scale = inputs
    ctx.save_for_backward(rois)
    ctx.size = list(features.shape)
    # The gradient takes the memory order of the maps; overlapping ones (expanded) get a plain one.
    ctx.stride = list(torch.empty_like(features, device="meta").stride())


def _backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    (rois,) = ctx.saved_tensors
    maps = torch.ops.rfcn.psroi_pool_backward(
        gradient, rois, ctx.spatial_scale, ctx.size, ctx.stride
    )
    return maps, None, None


def _save_for_second(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, rois, ctx.spatial_scale, _, _ = inputs
    ctx.save_for_backward(rois)


def _second_backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    """The backward is linear too, and its transpose is the forward."""
    (rois,) = ctx.saved_tensors
    pooled = torch.ops.rfcn.psroi_pool(gradient, rois, ctx.spatial_scale)
    return pooled, None, None, None, None


if library.declared("psroi_pool"):
    torch.library.register_fake("rfcn::psroi_pool", _fake_forward)
    torch.library.register_fake("rfcn::psroi_pool_backward", _fake_backward)
    torch.library.register_autograd("rfcn::psroi_pool", _backward, setup_context=_save)
    torch.library.register_autograd(
        "rfcn::psroi_pool_backward", _second_backward, setup_context=_save_for_second
    )
