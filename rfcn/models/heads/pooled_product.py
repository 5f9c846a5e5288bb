"""Pool, then multiply: what score maps vote for a RoI, without making the maps.

A score map is a 1x1 convolution of the features, and a bin's score its mean over some cells. Both
are linear, so they may change places: the vote of class c is

    1/k^2 * sum over bins b of (weight[b, c] . pooled[b] + bias[b, c] if b has cells)

with pooled[b] the mean of the features over bin b (`roi_average_pool`). An empty bin gives 0, not
its bias, since its map is not read. The multiply-adds fall by the ratio of RoIs to cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.ops.roi_average_pool import RoIAveragePool

CHUNK_BYTES = 1 << 24
"""Pooled features worked on at a time: small enough for an allocator to use again what it has, and
for the memory of a call not to grow with the RoIs."""
SIDE = 8
"""A convolution whose kernel is as large as its input is an inner product, and on a CPU the fastest
that PyTorch has (for 29 columns 40 against 17 billion multiply-adds a second), if the kernel is no
smaller than 6 x 6. So the k*k*D numbers of a RoI are seen as SIDE x SIDE cells."""
ENOUGH_ROIS = 512
"""From so many RoIs on, or two for each column, it pays to copy the weights for it."""


def pooled_votes(
    features: Tensor, rois: Tensor, pool: RoIAveragePool, layers: Sequence[nn.Conv2d]
) -> list[Tensor]:
    """The votes of several layers of maps, on features that are pooled once for all of them.

    Args:
        features: [N, D, H, W], what the 1x1 convolutions would read.
        rois: [R, 5]. pool: the bins; its k is that of the rows.
        layers: 1x1 convolutions D -> k*k*C with a bias, rows bin by bin (i, j, c).

    Returns:
        [R, C] for each layer, in the dtype of `features`.

    Gradients reach features, weights and biases, once: the backward keeps no pooled features but
    pools again, and leaves out RoIs without gradient (those that OHEM drops).
    """
    if not layers:
        return []
    bins = pool.k * pool.k
    dtype, depth = features.dtype, features.shape[1]
    weights = [layer.weight.to(dtype).reshape(bins, -1, depth) for layer in layers]
    if torch.compiler.is_compiling():  # one graph, which the compiler arranges itself
        pooled = by_bin(pool(features, rois))
        sums: Sequence[Tensor] = [_batched_product(pooled, weight) for weight in weights]
    else:
        sums = _PooledProducts.apply(features, rois, pool, *weights)
    ones = features.new_ones(1).expand(len(features), 1, *features.shape[2:])
    occupied = by_bin(pool(ones, rois)).flatten(1)  # [R, k*k]: 1 where a bin has cells, else 0
    biases = [layer.bias.to(dtype).view(bins, -1) for layer in layers if layer.bias is not None]
    return [(one + occupied @ bias) / bins for one, bias in zip(sums, biases, strict=True)]


def by_bin(pooled: Tensor) -> Tensor:
    """[R, D, k, k] as `roi_average_pool` gives it -> the view [R, k*k, D]."""
    return pooled.permute(0, 2, 3, 1).flatten(1, 2)


def _batched_product(pooled: Tensor, weight: Tensor) -> Tensor:
    """[R, b, D] x [b, C, D] -> [R, C], a product for each bin: the weights are not copied."""
    return torch.bmm(pooled.transpose(0, 1), weight.transpose(1, 2)).sum(0)


def _as_rows(weights: Sequence[Tensor]) -> Tensor:
    """[b, C, D] of each layer -> [all C, b*D]."""
    return torch.cat([weight.transpose(0, 1).flatten(1) for weight in weights])


def _inner_products(pooled: Tensor, rows: Tensor) -> Tensor:
    """[R, b*D] x [C, b*D] -> [R, C]."""

    def cells(flat: Tensor) -> Tensor:
        return flat.unflatten(1, (SIDE, SIDE, -1)).permute(0, 3, 1, 2)

    return F.conv2d(cells(pooled), cells(rows)).flatten(1)


def _copy_pays(features: Tensor, rois: int, weights: Sequence[Tensor]) -> bool:
    """Whether `_inner_products` is possible, and faster with the copy that it needs."""
    depth = weights[0].shape[0] * weights[0].shape[2]
    possible = features.device.type == "cpu" and features.dtype == torch.float32
    columns = sum(weight.shape[1] for weight in weights)
    return possible and depth % SIDE**2 == 0 and rois >= min(2 * columns, ENOUGH_ROIS)


class _PooledProducts(torch.autograd.Function):
    """sum over b of weight[b] . pooled[b]: features [N, D, H, W], weights [b, C, D] -> [R, C]s."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, pool: RoIAveragePool, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(features, rois, *weights)
        ctx.pool = pool
        rows = _as_rows(weights) if _copy_pays(features, len(rois), weights) else None
        found: list[Sequence[Tensor]] = []
        for chunk in _chunks(rois, features, pool.k):
            pooled = by_bin(pool(features, chunk))
            if rows is None:
                found.append([_batched_product(pooled, weight) for weight in weights])
            else:
                together = _inner_products(pooled.flatten(1), rows)
                found.append(together.split([weight.shape[1] for weight in weights], dim=1))
            del pooled  # so that the next chunk gets the same memory
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, rois, *weights = ctx.saved_tensors
        k = ctx.pool.k
        wanted = [ctx.needs_input_grad[0], *ctx.needs_input_grad[3:]]
        results = [
            torch.zeros_like(one) if want else None
            for one, want in zip([features, *weights], wanted, strict=True)
        ]
        if rois.device.type == "cpu":  # elsewhere the question would stall the stream
            kept = torch.stack([one.ne(0).any(dim=1) for one in gradients]).any(dim=0)
            rois, gradients = rois[kept], tuple(one[kept] for one in gradients)
        chunks = _chunks(rois, features, k)
        sizes = [len(chunk) for chunk in chunks]
        for chunk, *shares in zip(chunks, *(one.split(sizes) for one in gradients), strict=True):
            _add_chunk(results, features, weights, (chunk, ctx.pool), shares)
        return (results[0], None, None, *results[1:])


def _add_chunk(
    results: Sequence[Tensor | None],
    features: Tensor,
    weights: Sequence[Tensor],
    pooling: tuple[Tensor, RoIAveragePool],
    gradients: Sequence[Tensor],
) -> None:
    """Add to (features, *weights) the gradients of some RoIs, in place."""
    rois, pool = pooling
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        pooled = pool(leaf, rois)
    read = by_bin(pooled.detach()).transpose(0, 1)  # [b, R, D]
    back = None
    for weight, result, gradient in zip(weights, results[1:], gradients, strict=True):
        each = gradient.expand(len(weight), -1, -1)  # [b, R, C]: every bin has the same
        if result is not None:
            torch.baddbmm(result, each.transpose(1, 2), read, out=result)
        if back is None:
            back = torch.bmm(each, weight)
        else:
            torch.baddbmm(back, each, weight, out=back)
    if results[0] is not None and back is not None:
        shaped = back.transpose(0, 1).unflatten(1, (pool.k, pool.k)).permute(0, 3, 1, 2)
        (share,) = torch.autograd.grad(pooled, leaf, shaped)
        results[0].add_(share)


def _chunks(rois: Tensor, features: Tensor, k: int) -> tuple[Tensor, ...]:
    """The RoIs, so many at a time as pooled features fit in CHUNK_BYTES."""
    each = k * k * features.shape[1] * features.element_size()
    return rois.split(max(1, CHUNK_BYTES // max(1, each)))
