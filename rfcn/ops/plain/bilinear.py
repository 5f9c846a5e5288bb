"""Bilinear means over the bins of RoIs in plain PyTorch: exact, differentiable, for any device.

Along one axis the mean of a bin's samples is a weighted sum of cells, and a cell's weight is the
product of its row's and its column's. So an operator that samples this way is two product with
matrices of weights: rows [R, h, H] and columns [R, w, W]. All is computed in float64, and values
that are not finite are kept out and counted beside, so that one NaN reaches only the bins that give
its cell a weight.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfcn.ops.checks import valid_rows

CHUNK_ELEMENTS = 1 << 22
"""Elements of the first product worked on at a time, which bounds the memory: about 32 MB."""

MOST_SAMPLES = {torch.float32: 1 << 23, torch.float64: 1 << 52}
"""The most samples of a bin: beyond it the dtype cannot tell neighbouring samples apart."""


class Sampling(NamedTuple):
    """Where the samples lie: cells a pixel, samples a bin and axis (0: one for each cell of its
    length), and whether RoIs shift by half a cell."""

    scale: float
    ratio: int
    aligned: bool


Product = Callable[[Tensor, Tensor, Tensor], Tensor]
"""maps [channels..., H, W], row weights [R, h, H], column weights [R, w, W] -> their product,
summed over the cells: [R, ...]."""


def at_hand(tensor: Tensor) -> bool:
    """Whether values may be looked at: neither traced nor on a device that would have to finish."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def bilinear_means(
    features: Tensor, rois: Tensor, bins: Sequence[int], sampling: Sampling, product: Product
) -> Tensor:
    """Means over h x w = `bins` of each RoI, in the shape that the product gives.

    features: [N, channels..., H, W], rois: [R, 5] -> [R, ...] float64. None of the sizes is 0.
    A bad row gives zeros.
    """
    pictures, height, width = features.shape[0], *features.shape[-2:]
    valid = valid_rows(rois, pictures)
    rois = torch.where(valid[:, None], rois, 0)
    picture = rois[:, 0].long()
    rows = axis_weights(rois[:, 2], rois[:, 4], bins[0], height, sampling) * valid[:, None, None]
    columns = axis_weights(rois[:, 1], rois[:, 3], bins[1], width, sampling)
    if not at_hand(features):  # all pictures become one, and a RoI has weights in its own
        own = picture[:, None] == torch.arange(pictures, device=rois.device)
        rows = (rows[:, :, None] * own[:, None, :, None]).flatten(2)
        maps = _Maps(features.movedim(0, -3).flatten(-3, -2), product, look=False)
        return maps.means(rows, columns)
    step = max(1, CHUNK_ELEMENTS // (features[0, ..., 0, :].numel() * bins[0]))
    found, order = [], []
    for n in range(pictures):
        maps = _Maps(features[n], product, look=True)
        for chosen in (picture == n).nonzero()[:, 0].split(step):
            found.append(maps.means(rows[chosen], columns[chosen]))
            order.append(chosen)
    return torch.cat(found)[torch.cat(order).argsort()]


class _Maps:
    """Maps [channels..., H, W] of one picture."""

    def __init__(self, maps: Tensor, product: Product, look: bool) -> None:
        self.product = product
        finite = maps.isfinite()
        self.values = torch.where(finite, maps.double(), 0.0)
        self.strange: tuple[Tensor, ...] = ()
        if not look or not bool(finite.all()):
            self.strange = (maps.isnan(), maps == torch.inf, maps == -torch.inf)

    def means(self, rows: Tensor, columns: Tensor) -> Tensor:
        """rows: [R, h, H], columns: [R, w, W] -> the product with the maps."""
        mean = self.product(self.values, rows, columns)
        if self.strange:
            weighed = (rows > 0).double(), (columns > 0).double()
            nan, plus, minus = (self.product(one.double(), *weighed) > 0 for one in self.strange)
            mean = torch.where(plus, torch.inf, mean)
            mean = torch.where(minus, -torch.inf, mean)
            mean = torch.where(nan | (plus & minus), torch.nan, mean)
        return mean


def axis_weights(low: Tensor, high: Tensor, bins: int, cells: int, sampling: Sampling) -> Tensor:
    """The weights of cells in the means of bins: corners [R], [R] -> [R, bins, cells] float64.

    A sample more than a cell beyond the outer centres adds nothing and still counts in the mean.
    """
    axis = _Axis(low, high, bins, sampling)
    # Adaptive samples are more than half a cell apart, so no more of them than this are on the map.
    most = sampling.ratio or min(axis.most, 2 * cells + 4)
    sample = axis.before_map() + torch.arange(most, device=low.device)
    position = axis.position(sample)
    counts = (position >= -1) & (position <= cells) & (sample < axis.count)
    share = counts / axis.count.clamp(min=1).double()
    inside = torch.where(counts, position, 0).clamp(0, cells - 1)
    below = inside.long()
    nearness = (inside - below).double()
    weights = share.new_zeros(low.shape[0], bins, cells)
    weights = weights.scatter_add(2, below, (1 - nearness) * share)
    return weights.scatter_add(2, (below + 1).clamp(max=cells - 1), nearness * share)


class _Axis:
    """The samples of one side of each RoI: `count` [R, 1, 1] in each bin, at most `most`."""

    def __init__(self, low: Tensor, high: Tensor, bins: int, sampling: Sampling) -> None:
        shift = 0.5 if sampling.aligned else 0.0
        start = low * sampling.scale - shift
        length = high * sampling.scale - shift - start
        length = length if sampling.aligned else length.clamp(min=1)
        self.size = (length / bins)[:, None, None]
        p = torch.arange(bins, device=low.device, dtype=low.dtype)[:, None]
        self.start = p * self.size + start[:, None, None]
        self.adaptive = sampling.ratio == 0
        self.most = MOST_SAMPLES[low.dtype]
        if self.adaptive:
            count = self.size.ceil()
            few = (count > 0) & (count <= self.most)
            self.count = torch.where(few, count, 0)
            if at_hand(low):
                self.most = int(self.count.amax())
        else:
            self.count = torch.full_like(self.size, sampling.ratio)

    def position(self, sample: Tensor) -> Tensor:
        """Sample numbers [R, bins, n] -> positions in cells."""
        inside = (sample.to(self.size.dtype) + 0.5) * self.size / self.count.clamp(min=1)
        return self.start + inside

    def before_map(self) -> Tensor:
        """How many samples of each bin are passed over, before the map: [R, bins, 1] int64."""
        passed = torch.zeros_like(self.start, dtype=torch.int64)
        if not self.adaptive:
            return passed
        end = self.count.long().expand_as(passed)
        for _ in range(self.most.bit_length()):
            middle = (passed + end) // 2
            before = (self.position(middle) < -1) & (middle < end)
            passed, end = torch.where(before, middle + 1, passed), torch.where(before, end, middle)
        return passed
