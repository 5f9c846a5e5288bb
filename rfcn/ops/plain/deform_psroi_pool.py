"""deform_psroi_pool in plain PyTorch: for any device, differentiable in features and offsets.

Each sample reads four cells. All samples of a bin are gathered at once, so memory grows with their
number; away from tracing, RoIs go in chunks. Sums are kept in float64, whose gradients torch also
adds up in one order at every run.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois, valid_rows
from rfcn.ops.plain.psroi_pool import round_half_away

CHUNK_ELEMENTS = 1 << 22
"""Cells gathered at a time, which bounds the memory: about 32 MB for each step."""


def deform_psroi_pool(
    features: Tensor,
    rois: Tensor,
    offsets: Tensor | None,
    spatial_scale: float,
    samples: int,
    offset_scale: float,
) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5], offsets: [R, G, 2, k, k] of the dtype of RoIs.

    Returns [R, C, k, k]; see `rfcn.ops.deform_psroi_pool`.
    """
    traced_or_remote = torch.compiler.is_compiling() or features.device.type != "cpu"
    if not traced_or_remote:
        check_rois(rois, features.shape[0])
    numbers = spatial_scale, samples, offset_scale
    return pool(features, rois, offsets, *numbers, in_chunks=not traced_or_remote)


def pool(
    features: Tensor,
    rois: Tensor,
    offsets: Tensor | None,
    spatial_scale: float,
    samples: int,
    offset_scale: float,
    *,
    in_chunks: bool,
) -> Tensor:
    """The same for RoIs that need no check; those of no picture give zeros."""
    pictures, classes, k, _, height, width = features.shape
    if offsets is None:
        offsets = rois.new_zeros(rois.shape[0], 1, 2, k, k)
    if 0 in (pictures, classes, height, width, rois.shape[0]):
        nothing = features.new_zeros(rois.shape[0], classes, k, k)
        return nothing + 0 * features.sum() + 0 * offsets.sum().to(features.dtype)
    sides = [_Side.of(rois[:, 1 + axis], rois[:, 3 + axis], spatial_scale, k) for axis in (0, 1)]
    x, y = (
        _samples(side, offsets[:, :, axis] * offset_scale, axis, samples)
        for axis, side in enumerate(sides)
    )
    valid = valid_rows(rois, pictures)
    maps = _by_cell(features, offsets.shape[1])
    parts = torch.where(valid, rois[:, 0], 0).long(), valid, y, x, offsets.detach()
    if not in_chunks:
        pooled = _means(maps, (height, width), *parts)
    else:
        step = max(1, CHUNK_ELEMENTS // (classes * k * k * 4 * samples * samples))
        chunks = zip(*(part.split(step) for part in parts), strict=True)
        pooled = torch.cat([_means(maps, (height, width), *chunk) for chunk in chunks])
    # [R, G, k, k, C/G] -> [R, C, k, k], in memory as the compiled operator: [R, k, k, C].
    by_bin = pooled.permute(0, 2, 3, 1, 4).reshape(-1, k, k, classes)
    return by_bin.to(features.dtype).permute(0, 3, 1, 2)


class _Side(NamedTuple):
    """One side of each RoI on the feature grid, [R] each."""

    start: Tensor
    length: Tensor
    bin: Tensor

    @staticmethod
    def of(low: Tensor, high: Tensor, scale: float, k: int) -> "_Side":
        start = round_half_away(low) * scale - 0.5
        end = (round_half_away(high) + 1) * scale - 0.5
        length = (end - start).clamp(min=0.1)
        return _Side(start, length, length / k)


def _samples(side: _Side, shift: Tensor, axis: int, samples: int) -> Tensor:
    """Where the samples lie along one axis (0: x, 1: y). shift: [R, G, k, k] -> [R, G, k, k, S]."""
    k = shift.shape[-1]
    start, length, size = (one[:, None, None, None] for one in side)
    p = torch.arange(k, device=shift.device, dtype=shift.dtype)
    p = p[None, :] if axis == 0 else p[:, None]
    begin = p * size + start + shift * length
    s = torch.arange(samples, device=shift.device, dtype=shift.dtype)
    return begin[..., None] + s * (size / samples)[..., None]


def _by_cell(features: Tensor, groups: int) -> Tensor:
    """[N, C, k, k, H, W] -> [N, k, k, H*W + 1, G, C/G] float64; the last cell is 0."""
    cells = features.double().unflatten(1, (groups, -1)).permute(0, 3, 4, 5, 6, 1, 2).flatten(3, 4)
    return torch.nn.functional.pad(cells, (0, 0, 0, 0, 0, 1))


def _corners(positions: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells of each sample of one axis, [.., S] -> [.., S, 2], their weights; what counts.

    A sample exactly on a cell reads it twice: a weight of 0 never meets another cell's NaN.
    """
    counted = (positions >= -0.5) & (positions <= limit - 0.5)
    at = torch.where(counted, positions, 0.0).clamp(0, limit - 1)
    low = at.detach().floor()
    rest = (at - low).double()
    cells = torch.stack([low, at.detach().ceil()], dim=-1).long()
    return cells, torch.stack([1 - rest, rest], dim=-1), counted


def _means(
    maps: Tensor,
    size: tuple[int, int],
    picture: Tensor,
    valid: Tensor,
    y: Tensor,
    x: Tensor,
    offsets: Tensor,
) -> Tensor:
    """The mean over the samples that count. y, x: [R, G, k, k, S] -> [R, G, k, k, C/G] float64."""
    height, width = size
    rows, down, in_rows = _corners(y, height)
    columns, across, in_columns = _corners(x, width)
    counted = (
        in_rows[..., :, None] & in_columns[..., None, :] & valid[:, None, None, None, None, None]
    )
    # [R, G, k, k, S, 2, S, 2]: four corners of each sample.
    cells = rows[..., None, None] * width + columns[..., None, None, :, :]
    counts = counted[..., :, None, :, None]
    weights = down[..., None, None] * across[..., None, None, :, :] * counts
    cells = torch.where(counts, cells, height * width).flatten(4)
    groups, k = y.shape[1], y.shape[2]
    g, i, j = (torch.arange(n, device=maps.device) for n in (groups, k, k))
    values = maps[
        picture[:, None, None, None, None],
        i[:, None, None],
        j[:, None],
        cells,
        g[:, None, None, None],
    ]
    # A product and running sums instead of sums: ONNX Runtime cannot reduce what is empty.
    total = (weights.flatten(4)[..., None, :] @ values).squeeze(-2)
    count_y, count_x = (one.double().cumsum(-1)[..., -1] for one in (in_rows, in_columns))
    count = count_y * count_x * valid[:, None, None, None]
    # Without a sample: 0, or NaN where the offset is not finite.
    nothing = (0 * offsets[:, :, 0] + 0 * offsets[:, :, 1]).double()
    share = torch.where(count > 0, 1 / count.clamp(min=1), nothing)
    return torch.where((count > 0)[..., None], total, 1.0) * share[..., None]
