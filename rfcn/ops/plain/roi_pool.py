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
    if not _traced_or_remote(features):
        check_rois(rois, features.shape[0])
    if 0 in features.shape or rois.shape[0] == 0:
        pooled = features.new_zeros(rois.shape[0], features.shape[1], *size) + 0 * features.sum()
    else:
        pooled = look_up(features, rois, best_cells(features, rois, size, spatial_scale))
    return pooled.contiguous(memory_format=memory_format(features))


def memory_format(features: Tensor) -> torch.memory_format:
    """The result's: channels-last where the channels of a cell lie side by side."""
    return torch.channels_last if features.stride(1) == 1 else torch.contiguous_format


def look_up(features: Tensor, rois: Tensor, cells: Tensor) -> Tensor:
    """The features at `cells`; 0 where they are negative. [N, D, H, W], [R, 5], [R, D, h, w]."""
    # The gradients of a cell are added in float64: exact enough for half precision, and the one
    # dtype in which PyTorch adds them in a fixed order.
    values = features.double().flatten(2)
    channel = torch.arange(features.shape[1], device=features.device)[:, None, None]
    won = values[_picture(features, rois)[:, None, None, None], channel, cells.clamp(min=0).long()]
    return torch.where(cells >= 0, won, 0).to(features.dtype)


@torch.no_grad()
def best_cells(
    features: Tensor, rois: Tensor, size: tuple[int, int], spatial_scale: float
) -> Tensor:
    """The first of the largest cells of every bin; NaN is the largest of all.

    features: [N, D, H, W], rois: [R, 5] -> [R, D, *size] int64, y*W + x, or -1 for an empty bin.
    """
    height, width = features.shape[2:]
    valid = valid_rows(rois, features.shape[0])[:, None, None]
    rows = bin_cells(rois[:, 2], rois[:, 4], spatial_scale, size[0], height) * valid
    columns = bin_cells(rois[:, 1], rois[:, 3], spatial_scale, size[1], width) * valid
    picture = _picture(features, rois)
    if _traced_or_remote(features):  # they must not ask the values
        cells = _best_cells(features, picture, rows, columns, (height, width))
    else:
        most = (_longest(rows), _longest(columns))
        tables = features[:, :1].numel() * len(_levels(most[0])) * len(_levels(most[1]))
        step = max(1, CHUNK_ELEMENTS // max(tables, len(rois) * size[0] * size[1]))
        chunks = [_best_cells(one, picture, rows, columns, most) for one in features.split(step, 1)]
        cells = torch.cat(chunks, dim=3)
    tall, wide = rows[..., 1] > rows[..., 0], columns[..., 1] > columns[..., 0]
    filled = tall[:, :, None] & wide[:, None]
    return torch.where(filled[..., None], cells, -1).permute(0, 3, 1, 2)


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


def _traced_or_remote(features: Tensor) -> bool:
    return torch.compiler.is_compiling() or features.device.type != "cpu"


def _picture(features: Tensor, rois: Tensor) -> Tensor:
    """[R] int64; 0 for a RoI that is not valid."""
    return torch.where(valid_rows(rois, features.shape[0]), rois[:, 0], 0).long()


def _longest(ranges: Tensor) -> int:
    return max(1, int((ranges[..., 1] - ranges[..., 0]).max()))


def _levels(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [1 << level for level in range(most.bit_length())]


def _best_cells(
    features: Tensor, picture: Tensor, rows: Tensor, columns: Tensor, most: tuple[int, int]
) -> Tensor:
    """picture: [R], rows: [R, h, 2], columns: [R, w, 2] -> [R, h, w, D]; an empty bin gives some
    cell. No bin has more than `most` cells a side."""
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
