"""roi_pool in plain PyTorch: exact, for any device, differentiable, without a compiler.

The cells of each map are ranked by value, so that the largest of a bin is one comparison of whole
numbers whatever the ties. Tables of the best rank in rectangles of 1, 2, 4, ... cells a side then
answer any bin by the four rectangles that cover it. What is differentiated is the look-up of the
cell that won.
"""

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois, valid_rows
from rfcn.ops.plain.psroi_pool import round_half_away

CHUNK_ELEMENTS = 1 << 24
"""Ranks worked on at a time, which bounds the memory of the tables: about 64 MB."""


def roi_pool(features: Tensor, rois: Tensor, size: tuple[int, int], spatial_scale: float) -> Tensor:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, *size]; see `rfcn.ops.roi_pool`."""
    pictures, channels, height, width = features.shape
    if not _traced_or_remote(features):
        check_rois(rois, pictures)
    last = features.stride(1) == 1
    memory_format = torch.channels_last if last else torch.contiguous_format
    if 0 in features.shape or rois.shape[0] == 0:
        pooled = features.new_zeros(rois.shape[0], channels, *size) + 0 * features.sum()
        return pooled.contiguous(memory_format=memory_format)
    valid = valid_rows(rois, pictures)
    picture = torch.where(valid, rois[:, 0], 0).long()
    rows = bin_cells(rois[:, 2], rois[:, 4], spatial_scale, size[0], height)
    columns = bin_cells(rois[:, 1], rois[:, 3], spatial_scale, size[1], width)
    rows, columns = rows * valid[:, None, None], columns * valid[:, None, None]
    cells = best_cells(features, picture, rows, columns)
    # The gradients of a cell are added in float64: exact enough for half precision, and the one
    # dtype in which PyTorch adds them in a fixed order.
    channel = torch.arange(channels, device=features.device)
    values = features.double().flatten(2)
    pooled = values[picture[:, None, None, None], channel, cells].to(features.dtype)
    tall, wide = rows[..., 1] > rows[..., 0], columns[..., 1] > columns[..., 0]
    filled = tall[:, :, None] & wide[:, None]
    pooled = torch.where(filled[..., None], pooled, 0).permute(0, 3, 1, 2)
    return pooled.contiguous(memory_format=memory_format)


def bin_cells(low: Tensor, high: Tensor, scale: float, bins: int, limit: int) -> Tensor:
    """The cells of each bin of one side: [R] and [R] corners -> [R, bins, 2] int64 (begin, end)."""
    start, end = round_half_away(low * scale), round_half_away(high * scale)
    side = end - start + 1
    size = torch.where(side > 1, side, 1) / bins
    p = torch.arange(bins, device=low.device, dtype=low.dtype)
    begin = (p * size[:, None]).floor() + start[:, None]
    stop = ((p + 1) * size[:, None]).ceil() + start[:, None]
    edges = torch.stack([begin, stop], dim=-1).nan_to_num(nan=0.0).clamp(0, limit).long()
    return torch.stack([edges[..., 0], edges.amax(dim=-1)], dim=-1)


@torch.no_grad()
def best_cells(features: Tensor, picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The first of the largest cells of every bin; NaN is the largest of all.

    features: [N, D, H, W], picture: [R], rows: [R, h, 2], columns: [R, w, 2]
    -> [R, h, w, D] int64, y*W + x, or any cell where a bin is empty.
    """
    height, width = features.shape[2:]
    if _traced_or_remote(features):  # they must not ask the values
        return _best_cells(features, picture, rows, columns, (height, width))
    most = (_longest(rows), _longest(columns))
    tables = features[:, :1].numel() * len(_levels(most[0])) * len(_levels(most[1]))
    answers = len(picture) * rows.shape[1] * columns.shape[1]
    chunks = features.split(max(1, CHUNK_ELEMENTS // max(tables, answers)), dim=1)
    return torch.cat([_best_cells(one, picture, rows, columns, most) for one in chunks], dim=3)


def _traced_or_remote(features: Tensor) -> bool:
    return torch.compiler.is_compiling() or features.device.type != "cpu"


def _longest(ranges: Tensor) -> int:
    return max(1, int((ranges[..., 1] - ranges[..., 0]).max()))


def _levels(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [1 << level for level in range(most.bit_length())]


def _best_cells(
    features: Tensor, picture: Tensor, rows: Tensor, columns: Tensor, most: tuple[int, int]
) -> Tensor:
    """`best_cells` for bins of at most `most` cells a side."""
    pictures, channels, height, width = features.shape
    # From the last cell to the first, so that the first of equal cells gets the highest rank.
    order = features.flatten(2).flip(2).argsort(dim=2, stable=True)
    order = height * width - 1 - order
    place = torch.arange(height * width, device=features.device, dtype=torch.int32)
    rank = torch.empty_like(order, dtype=torch.int32).scatter(2, order, place.expand_as(order))
    rank = rank.permute(0, 2, 1).reshape(pictures, height, width, channels)
    tables = torch.stack(_tables(rank, most))
    level_y, top, bottom = _cover(rows, height)
    level_x, left, right = _cover(columns, width)
    level = level_y[:, :, None] * len(_levels(most[1])) + level_x[:, None]
    level = level * pictures + picture[:, None, None]

    def look_up(y: Tensor, x: Tensor) -> Tensor:
        at = (level * height + y[:, :, None]) * width + x[:, None]
        return tables.flatten(0, 3).index_select(0, at.flatten())

    best = torch.maximum(look_up(top, left), look_up(top, right))
    best = best.maximum(look_up(bottom, left)).maximum(look_up(bottom, right))
    best = best.unflatten(0, level.shape).long()
    channel = torch.arange(channels, device=features.device)
    return order[picture[:, None, None, None], channel, best]


def _tables(rank: Tensor, most: tuple[int, int]) -> list[Tensor]:
    """rank: [N, H, W, D] -> the best of the rectangle that starts at each cell, for each level of
    heights and, within it, of widths. A rectangle that leaves the map is never asked for."""
    found = []
    for tall in _levels(most[0]):
        if tall > 1:
            rank = _with_next(rank, 1, tall // 2)
        wide_rank = rank
        for wide in _levels(most[1]):
            if wide > 1:
                wide_rank = _with_next(wide_rank, 2, wide // 2)
            found.append(wide_rank)
    return found


def _with_next(rank: Tensor, dim: int, step: int) -> Tensor:
    """The larger of each cell and the one `step` further."""
    return rank.maximum(rank.roll(-step, dim))


def _cover(ranges: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """ranges: [R, k, 2] -> the level whose two stretches cover each, and where the two start."""
    length = (ranges[..., 1] - ranges[..., 0]).clamp(min=1)
    powers = torch.tensor(_levels(limit)[1:], device=ranges.device)
    level = (length[..., None] >= powers).sum(-1)
    first = ranges[..., 0].clamp(max=limit - 1)
    return level, first, first + length - 2**level
