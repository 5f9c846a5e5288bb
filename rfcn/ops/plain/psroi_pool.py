"""psroi_pool in plain PyTorch: exact, for any device, differentiable, without a compiler.

The sum over a rectangle comes from four corners of an integral image. Prefix sums are kept in
float64, and values that are not finite are kept out of them and counted beside, so that one NaN
reaches only the bins that contain it.
"""

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois, valid_rows

CHUNK_ELEMENTS = 1 << 22
"""Pooled scores worked on at a time, which bounds the memory of the corners: about 32 MB each."""


def psroi_pool(features: Tensor, rois: Tensor, spatial_scale: float) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k]; see `rfcn.ops.psroi_pool`."""
    pictures, classes, k, _, height, width = features.shape
    traced_or_remote = torch.compiler.is_compiling() or features.device.type != "cpu"
    if not traced_or_remote:
        check_rois(rois, pictures)
    if pictures == 0 or classes == 0 or rois.shape[0] == 0:
        return features.new_zeros(rois.shape[0], classes, k, k) + 0 * features.sum()
    valid = valid_rows(rois, pictures)
    rows = bin_cells(rois[:, 2], rois[:, 4], spatial_scale, k, height)
    columns = bin_cells(rois[:, 1], rois[:, 3], spatial_scale, k, width)
    picture = torch.where(valid, rois[:, 0], 0).long()
    rows, columns = rows * valid[:, None, None], columns * valid[:, None, None]
    sums = _BoxSums(features)
    if traced_or_remote:
        pooled = sums.mean(picture, rows, columns)
    else:
        step = max(1, CHUNK_ELEMENTS // (classes * k * k))
        chunks = zip(picture.split(step), rows.split(step), columns.split(step), strict=True)
        pooled = torch.cat([sums.mean(*chunk) for chunk in chunks])
    # Same memory order as the compiled operator: the classes of a bin side by side.
    return pooled.to(features.dtype).permute(0, 3, 1, 2)


def round_half_away(x: Tensor) -> Tensor:
    """C's round(): the nearest whole number, halves away from zero."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


def bin_cells(low: Tensor, high: Tensor, scale: float, k: int, limit: int) -> Tensor:
    """The cells of each bin of one side: [R] and [R] corners -> [R, k, 2] int64 (begin, end)."""
    start = round_half_away(low) * scale
    end = (round_half_away(high) + 1) * scale
    size = (end - start).clamp(min=0.1) / k
    p = torch.arange(k, device=low.device, dtype=low.dtype)
    begin = (p * size[:, None] + start[:, None]).floor()
    stop = ((p + 1) * size[:, None] + start[:, None]).ceil()
    edges = torch.stack([begin, stop], dim=-1).nan_to_num(nan=0.0).clamp(0, limit).long()
    return torch.stack([edges[..., 0], edges.amax(dim=-1)], dim=-1)


class _BoxSums:
    """Sums over rectangles of maps [N, C, k, k, H, W]."""

    def __init__(self, maps: Tensor) -> None:
        finite = maps.isfinite()
        wide = maps.double()
        self.sums = _integral(torch.where(finite, wide, 0.0))
        self.strange: Tensor | None = None
        # Tracing cannot branch on values; elsewhere the second integral is rarely needed.
        if torch.compiler.is_compiling() or not bool(finite.all()):
            flags = torch.stack([maps.isnan(), maps == torch.inf, maps == -torch.inf]).double()
            self.strange = _integral(flags)

    def mean(self, picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """picture [R], rows and columns [R, k, 2] -> [R, k, k, C] float64; 0 for an empty bin."""
        area = (rows[..., 1] - rows[..., 0])[:, :, None] * (columns[..., 1] - columns[..., 0])[
            :, None
        ]
        area = area[..., None]
        mean = _corners(self.sums, picture, rows, columns) / area.clamp(min=1)
        if self.strange is not None:
            nan, plus, minus = (_corners(flag, picture, rows, columns) > 0 for flag in self.strange)
            mean = torch.where(plus, torch.inf, mean)
            mean = torch.where(minus, -torch.inf, mean)
            mean = torch.where(nan | (plus & minus), torch.nan, mean)
        return torch.where(area > 0, mean, 0.0)


def _integral(maps: Tensor) -> Tensor:
    """Prefix sums over the last two dimensions, with a zero row and column before them."""
    return torch.nn.functional.pad(maps.cumsum(-1).cumsum(-2), (1, 0, 1, 0))


def _corners(integral: Tensor, picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The four corners of each bin. integral: [N, C, k, k, H+1, W+1] -> sums [R, k, k, C]."""
    k = rows.shape[1]
    bins = torch.arange(k, device=integral.device)
    by_bin = integral.permute(0, 2, 3, 4, 5, 1)

    def corner(y: Tensor, x: Tensor) -> Tensor:
        i, j = bins[None, :, None], bins[None, None, :]
        return by_bin[picture[:, None, None], i, j, y[:, :, None], x[:, None, :]]

    top, bottom = rows.unbind(-1)
    left, right = columns.unbind(-1)
    return corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
