"""Deformable position-sensitive RoI pooling (Deformable ConvNets, arXiv 1703.06211, section 2.2).

As `psroi_pool`, bin (i, j) of class c reads score map (c, i, j) alone. But a bin is the mean of
samples x samples bilinear samples, and may be shifted by a learnt offset. Along each axis, in cells
with the centre of cell c at c, the arithmetic is that of the released operator:

    start  = round(x1) * scale - 0.5,  end = (round(x2) + 1) * scale - 0.5
    length = max(end - start, 0.1),    bin = length / k
    sample s of bin p: p * bin + start + offset * offset_scale * length + s * bin / samples

with round() half away from zero. A sample outside [-0.5, W - 0.5] does not count; one that counts
is clamped to [0, W - 1]. See docs/ops.md for how other implementations differ.
"""

import math

import torch
from torch import Tensor, nn

import rfcn.ops.library as library
import rfcn.ops.plain.deform_psroi_pool as plain
from rfcn.ops.checks import check_device, check_dtype, check_maps_and_rois, score_maps

MOST_SAMPLES = 256


def deform_psroi_pool(
    features: Tensor,
    rois: Tensor,
    offsets: Tensor | None,
    k: int,
    spatial_scale: float,
    *,
    samples: int = 4,
    offset_scale: float = 0.1,
) -> Tensor:
    """Pools each RoI into k x k position-sensitive bins, each shifted by its offset.

    Args:
        features: [N, C*k*k, H, W] score maps, channel (c*k + i)*k + j for class c, bin row i, bin
            column j; or any view [N, C, k, k, H, W] of them. float32, float64, float16 or bfloat16;
            sums are kept in float32 or wider. Any strides; fastest when the classes of a cell lie
            side by side (channels-last maps whose channels are ordered (i, j, c)).
        rois: [R, 5] rows of (picture index, x1, y1, x2, y2): inclusive corners in picture pixels
            (`boxes.to_rois(..., inclusive=True)`). float32 or float64, whatever `features` are.
        offsets: [R, G, 2, k, k], the shift of each bin along x (0) and y (1), in units of
            offset_scale of the RoI's side. G groups divide the classes, in order: 1 shares the
            offsets among all classes, C gives each class its own. float32 or float64. None: no
            offsets, which is how offset maps themselves are pooled; the result of that,
            [R, 2G, k, k], is given here as `.unflatten(1, (G, 2))`.
        k: bins a side.
        spatial_scale: cells a pixel, 1 / stride.
        samples: samples a bin and axis, 1 to 256.
        offset_scale: what an offset of 1 means, in sides of the RoI.

    Returns:
        [R, C, k, k] in the dtype of `features`, with the classes of a bin side by side in memory:
        the mean of the samples that count. Without one it is 0 and passes no gradient; but an
        offset that is not finite gives NaN.

    Gradients reach `features` and `offsets`, of second order too, and never `rois`. In the offsets
    the value is piecewise smooth: where a sample lies exactly on a row or column of cells, or is
    clamped, its slope across is taken as 0, and the jump of a sample that leaves the map as none.
    Forward and backward give the same bits at every run. Positions are computed in the wider dtype
    of RoIs and offsets; under autocast both stay as they are.

    Raises:
        ValueError: a shape, dtype, device or number does not fit.
        RuntimeError: a RoI names no picture of the batch or is not finite; the message names its
            row. On CUDA that RoI gives zeros instead, since a check would stall the GPU
            (RFCN_DEBUG=1 checks).
    """
    maps = score_maps(features, k)
    check_maps_and_rois(features, rois, spatial_scale)
    if not 1 <= samples <= MOST_SAMPLES:
        raise ValueError(f"samples: must be in 1..{MOST_SAMPLES}, not {samples}")
    if not -math.inf < offset_scale < math.inf:
        raise ValueError(f"offset_scale: must be a finite number, not {offset_scale}")
    rois = rois.detach()
    if offsets is not None:
        _check_offsets(offsets, rois, maps)
        dtype = torch.promote_types(offsets.dtype, rois.dtype)
        offsets, rois = offsets.to(dtype), rois.to(dtype)
    if library.is_compiled("deform_psroi_pool", features.device):
        return torch.ops.rfcn.deform_psroi_pool(
            maps, rois.contiguous(), offsets, spatial_scale, samples, offset_scale
        )
    return plain.deform_psroi_pool(maps, rois, offsets, spatial_scale, samples, offset_scale)


class DeformPSRoIPool(nn.Module):
    """`deform_psroi_pool` with its numbers kept."""

    def __init__(
        self, k: int, spatial_scale: float, *, samples: int = 4, offset_scale: float = 0.1
    ) -> None:
        super().__init__()
        self.k = k
        self.spatial_scale = spatial_scale
        self.samples = samples
        self.offset_scale = offset_scale

    def forward(self, features: Tensor, rois: Tensor, offsets: Tensor | None = None) -> Tensor:
        """features: [N, C*k*k, H, W], rois: [R, 5], offsets: [R, G, 2, k, k] -> [R, C, k, k]."""
        return deform_psroi_pool(
            features,
            rois,
            offsets,
            self.k,
            self.spatial_scale,
            samples=self.samples,
            offset_scale=self.offset_scale,
        )

    def extra_repr(self) -> str:
        """The numbers."""
        return (
            f"k={self.k}, spatial_scale={self.spatial_scale:g}, samples={self.samples}, "
            f"offset_scale={self.offset_scale:g}"
        )


def _check_offsets(offsets: Tensor, rois: Tensor, maps: Tensor) -> None:
    """Raises ValueError unless the offsets fit the RoIs and the classes of the maps."""
    count, classes, k = rois.shape[0], maps.shape[1], maps.shape[2]
    shape = list(offsets.shape)
    if len(shape) != 5 or shape[:1] + shape[2:] != [count, 2, k, k] or shape[1] < 1:
        raise ValueError(
            f"offsets: the shape must be [R, G, 2, k, k] with R = {count}, k = {k} and G at least "
            f"1, not {shape}"
        )
    if classes % shape[1]:
        raise ValueError(
            f"offsets: {shape[1]} groups do not divide the {classes} classes of the features"
        )
    check_dtype("offsets", offsets, (torch.float32, torch.float64))
    check_device("offsets", offsets, rois)


def _fake_forward(
    features: Tensor,
    rois: Tensor,
    offsets: Tensor | None,
    spatial_scale: float,
    samples: int,
    offset_scale: float,
) -> Tensor:
    """[R, C, k, k] whose memory order is [R, k, k, C]."""
    _, classes, k, _, _, _ = features.shape
    shape = (rois.shape[0], classes, k, k)
    return features.new_empty_strided(shape, (k * k * classes, 1, k * classes, classes))


def _fake_backward(
    gradient: Tensor,
    rois: Tensor,
    offsets: Tensor | None,
    spatial_scale: float,
    samples: int,
    offset_scale: float,
    size: list[int],
    stride: list[int],
) -> Tensor:
    return gradient.new_empty_strided(size, stride)


def _fake_offsets_backward(
    gradient: Tensor,
    features: Tensor,
    rois: Tensor,
    offsets: Tensor,
    spatial_scale: float,
    samples: int,
    offset_scale: float,
) -> Tensor:
    """[R, G, 2, k, k] whose memory order is [R, k, k, G, 2]."""
    _, groups, _, k, _ = offsets.shape
    strides = (k * k * groups * 2, 2, 1, k * groups * 2, groups * 2)
    return offsets.new_empty_strided(offsets.shape, strides)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, rois, offsets, *ctx.numbers = inputs
    moves = offsets is not None and offsets.requires_grad
    ctx.save_for_backward(features if moves else None, rois, offsets)
    ctx.size = list(features.shape)
    # The gradient takes the memory order of the maps; overlapping ones (expanded) get a plain one.
    ctx.stride = list(torch.empty_like(features, device="meta").stride())


def _backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    features, rois, offsets = ctx.saved_tensors
    maps = moves = None
    if ctx.needs_input_grad[0]:
        maps = torch.ops.rfcn.deform_psroi_pool_backward(
            gradient, rois, offsets, *ctx.numbers, ctx.size, ctx.stride
        )
    if ctx.needs_input_grad[2]:
        moves = torch.ops.rfcn.deform_psroi_pool_offsets_backward(
            gradient, features, rois, offsets, *ctx.numbers
        )
    return maps, None, moves, None, None, None


def _save_for_second(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    gradient, rois, offsets, *ctx.numbers, _, _ = inputs
    ctx.save_for_backward(gradient, rois, offsets)


def _second_backward(ctx, second: Tensor):  # type: ignore[no-untyped-def]
    """The gradient of the maps is linear in `gradient`, and its transpose is the forward."""
    gradient, rois, offsets = ctx.saved_tensors
    pooled = moves = None
    if ctx.needs_input_grad[0]:
        pooled = torch.ops.rfcn.deform_psroi_pool(second, rois, offsets, *ctx.numbers)
    if ctx.needs_input_grad[2]:
        moves = torch.ops.rfcn.deform_psroi_pool_offsets_backward(
            gradient, second, rois, offsets, *ctx.numbers
        )
    return pooled, None, moves, None, None, None, None, None


def _save_for_second_offsets(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.scale, ctx.samples, ctx.offset_scale = inputs
    ctx.save_for_backward(*tensors)


def _second_offsets_backward(ctx, second: Tensor):  # type: ignore[no-untyped-def]
    """Rarely asked for, so it is left to the plain form."""
    gradient, features, rois, offsets = ctx.saved_tensors
    numbers = ctx.scale, ctx.samples, ctx.offset_scale
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_() for one in (gradient, features, offsets)]
        pooled = plain.pool(leaves[1], rois, leaves[2], *numbers, in_chunks=False)
        (moves,) = torch.autograd.grad(pooled, leaves[2], leaves[0], create_graph=True)
        grads = torch.autograd.grad(moves, leaves, second)
    return grads[0], grads[1], None, grads[2], None, None, None


if library.declared("deform_psroi_pool"):
    _NAME = "rfcn::deform_psroi_pool"
    torch.library.register_fake(_NAME, _fake_forward)
    torch.library.register_fake(f"{_NAME}_backward", _fake_backward)
    torch.library.register_fake(f"{_NAME}_offsets_backward", _fake_offsets_backward)
    torch.library.register_autograd(_NAME, _backward, setup_context=_save)
    torch.library.register_autograd(
        f"{_NAME}_backward", _second_backward, setup_context=_save_for_second
    )
    torch.library.register_autograd(
        f"{_NAME}_offsets_backward",
        _second_offsets_backward,
        setup_context=_save_for_second_offsets,
    )
