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
FEW_ROIS = 128
"""Below, copying the weights into the order of a convolution costs more than its speed gains."""


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


def _as_kernel(weights: Sequence[Tensor], k: int) -> Tensor:
    """[k*k, C, D] of each layer -> one kernel [all C, D, k, k], channels-last."""
    rows = torch.cat([weight.transpose(0, 1) for weight in weights])
    return rows.unflatten(1, (k, k)).permute(0, 3, 1, 2)


class _PooledProducts(torch.autograd.Function):
    """sum over b of weight[b] . pooled[b]: features [N, D, H, W], weights [b, C, D] -> [R, C]s."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, pool: RoIAveragePool, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(features, rois, *weights)
        ctx.pool = pool
        # On a CPU the bins and layers of a chunk are one k x k convolution without padding.
        few = len(rois) < FEW_ROIS or features.dtype != torch.float32
        kernel = None if few or features.is_cuda else _as_kernel(weights, pool.k)
        found: list[Sequence[Tensor]] = []
        for chunk in _chunks(rois, features, pool.k):
            pooled = pool(features, chunk)
            if kernel is None:
                found.append([_batched_product(by_bin(pooled), weight) for weight in weights])
            else:
                together = F.conv2d(pooled, kernel).flatten(1)
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
