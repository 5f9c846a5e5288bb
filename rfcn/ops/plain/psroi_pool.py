"""psroi_pool in plain PyTorch: exact, for any device, differentiable, without a compiler.

The sum over a rectangle comes from four corners of an integral image. Prefix sums are kept in
float64, and values that are not finite are kept out of them and counted beside, so that one NaN
reaches only the bins that contain it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rfcn.ops.checks import check_rois, valid_rows

CHUNK_ELEMENTS = 1 << 22
"""Pooled scores worked on at a time, which bounds the memory of the corners: about 32 MB each."""


def psroi_pool(features: Tensor, rois: Tensor, spatial_scale: float, semantics: int = 0) -> Tensor:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k]; see `rfcn.ops.psroi_pool`."""
    return pool_bins(features, rois, features.shape[2], spatial_scale, semantics)


def pool_bins(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: int
) -> Tensor:
    """features: [N, C, b, b, H, W], rois: [R, 5] -> [R, C, k, k], where b is k (every bin reads
    maps of its own) or 1 (all bins read the same). semantics: a place in `checks.SEMANTICS`."""
    cells = bins_of_rois(features, rois, k, spatial_scale, semantics)
    pooled = in_chunks(features, cells, lambda means: means)
    # Same memory order as the compiled operator: the classes of a bin side by side.
    return pooled.permute(0, 3, 1, 2)


def bins_of_rois(
    features: Tensor, rois: Tensor, k: int, spatial_scale: float, semantics: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The picture [R] of each RoI, and the rows and columns [R, k, 2] (begin, end) of its bins.

    A RoI that no operator can use raises on the CPU; elsewhere, and traced, its bins are empty.
    """
    pictures, *_, height, width = features.shape
    if not _traced_or_remote(features):
        check_rois(rois, pictures)
    valid = valid_rows(rois, pictures)
    rows = bin_cells(rois[:, 2], rois[:, 4], spatial_scale, k, height, semantics)
    columns = bin_cells(rois[:, 1], rois[:, 3], spatial_scale, k, width, semantics)
    picture = torch.where(valid, rois[:, 0], 0).long()
    return picture, rows * valid[:, None, None], columns * valid[:, None, None]


def in_chunks(
    features: Tensor,
    cells: tuple[Tensor, Tensor, Tensor],
    finish: Callable[[Tensor], Tensor],
) -> Tensor:
    """finish(means [r, k, k, C], float64), for some RoIs at a time, in the dtype of the features.

    features: [N, C, b, b, H, W]; cells: what `bins_of_rois` gives.
    """
    classes, (rois, k, _) = features.shape[1], cells[1].shape
    if features.shape[0] == 0 or classes == 0 or rois == 0:
        return finish(features.new_zeros(rois, k, k, classes) + 0 * features.sum())
    sums = _BoxSums(features)
    if _traced_or_remote(features):
        return finish(sums.mean(*cells)).to(features.dtype)
    step = max(1, CHUNK_ELEMENTS // (classes * k * k))
    chunks = zip(*(one.split(step) for one in cells), strict=True)
    return torch.cat([finish(sums.mean(*chunk)).to(features.dtype) for chunk in chunks])


def _traced_or_remote(features: Tensor) -> bool:
    """Whether values must not be asked."""
    return torch.compiler.is_compiling() or features.device.type != "cpu"


def round_half_away(x: Tensor) -> Tensor:
    """C's round(): the nearest whole number, halves away from zero."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


def bin_cells(
    low: Tensor, high: Tensor, scale: float, k: int, limit: int, semantics: int = 0
) -> Tensor:
    """The cells of each bin of one side: [R] and [R] corners -> [R, k, 2] int64 (begin, end)."""
    origin, start, length = _SIDES[semantics](low, high, scale)
    size = length[:, None] / k
    p = torch.arange(k, device=low.device, dtype=low.dtype)
    begin = (p * size + start[:, None]).floor() + origin[:, None]
    stop = ((p + 1) * size + start[:, None]).ceil() + origin[:, None]
    edges = torch.stack([begin, stop], dim=-1).nan_to_num(nan=0.0).clamp(0, limit).long()
    return torch.stack([edges[..., 0], edges.amax(dim=-1)], dim=-1)


# From the corners [R], [R] of one side: the whole cell from which its bins are counted, where they
# start from there, and their length together. What is added before floor and ceiling is in the
# start, what is added after them in the origin.


def _msra_side(low: Tensor, high: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    start = round_half_away(low) * scale
    end = (round_half_away(high) + 1) * scale
    return torch.zeros_like(start), start, (end - start).clamp(min=0.1)


def _paper_side(low: Tensor, high: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    return _whole_side(round_half_away(low) * scale, (round_half_away(high) + 1) * scale)


def _torchvision_side(low: Tensor, high: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    return _whole_side(low * scale, high * scale)


def _whole_side(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    start, end = round_half_away(start), round_half_away(end)
    return start, torch.zeros_like(start), (end - start).clamp(min=1)


_SIDES = (_msra_side, _paper_side, _torchvision_side)


class _BoxSums:
    """Sums over rectangles of maps [N, C, b, b, H, W], where b is k or 1."""

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
    """The four corners of each bin. integral: [N, C, b, b, H+1, W+1] -> sums [R, k, k, C]."""
    bins = torch.arange(rows.shape[1], device=integral.device) % integral.shape[2]
    by_bin = integral.permute(0, 2, 3, 4, 5, 1)

    def corner(y: Tensor, x: Tensor) -> Tensor:
        i, j = bins[None, :, None], bins[None, None, :]
        return by_bin[picture[:, None, None], i, j, y[:, :, None], x[:, None, :]]

    top, bottom = rows.unbind(-1)
    left, right = columns.unbind(-1)
    return corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
