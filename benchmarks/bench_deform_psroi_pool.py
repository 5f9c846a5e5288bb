"""deform_psroi_pool against this project's psroi_pool and against its own plain PyTorch form."""

import torch
from common import interleave, report, rows_of
from loads import HEIGHT, SCALE, WIDTH, K, memory_orders, random_rois
from torch import Tensor

import rfcn.ops.plain.deform_psroi_pool as plain
from rfcn.ops.deform_psroi_pool import deform_psroi_pool
from rfcn.ops.psroi_pool import psroi_pool

LOADS = [(21, 300), (8, 300), (42, 300), (21, 2000), (81, 300)]
"""(classes, RoIs): VOC scores, boxes, offset maps of the scores, many RoIs, COCO."""


def random_offsets(rois: int, groups: int) -> Tensor:
    """[R, groups, 2, k, k] as the operator itself pools them, with a standard deviation of 1."""
    g = torch.Generator().manual_seed(1)
    return torch.randn(rois, K, K, groups, 2, generator=g).permute(0, 3, 4, 1, 2)


def bench(classes: int, count: int) -> list[dict[str, object]]:
    """Forward, and backward to maps and offsets, of no, shared and class-wise offsets."""
    rois = random_rois(count)
    orders = memory_orders(torch.randn(1, classes * K * K, HEIGHT, WIDTH))
    rows = []
    for name, groups in (("none", 0), ("shared", 1), ("class-wise", classes)):
        offsets = random_offsets(count, groups) if groups else None
        pools = {
            f"rfcn, {order}": (
                maps,
                offsets,
                lambda m, o: deform_psroi_pool(m, rois, o, K, SCALE),
            )
            for order, maps in orders.items()
        }
        maps = orders["by bin"]
        pools["psroi_pool"] = maps, None, lambda m, _: psroi_pool(m, rois, K, SCALE)
        if groups < 2 or (classes, count) == LOADS[0]:  # else it takes seconds a call
            pools["plain PyTorch"] = (
                maps,
                offsets,
                lambda m, o: plain.deform_psroi_pool(m, rois, o, SCALE, 4, 0.1),
            )
        forward, backward = {}, {}
        for candidate, (one, moves, pool) in pools.items():
            leaves = [leaf.detach().requires_grad_() for leaf in (one, moves) if leaf is not None]
            pooled = pool(leaves[0], leaves[1] if len(leaves) > 1 else None)
            gradient = torch.randn_like(pooled)
            forward[candidate] = lambda one=one, moves=moves, pool=pool: pool(one, moves)
            backward[candidate] = lambda pooled=pooled, leaves=leaves, gradient=gradient: (
                torch.autograd.grad(pooled, leaves, gradient, retain_graph=True)
            )
        bins = torch.empty(count, classes, K, K)
        touches = [maps, bins] if offsets is None else [maps, bins, offsets]
        load = {"channels": classes * K * K, "rois": count, "offsets": name}
        rows += [
            {**load, "part": part, "ms": interleave(candidates, 5, touches=touches)}
            for part, candidates in (("forward", forward), ("backward", backward))
        ]
    return rows


if __name__ == "__main__":
    report("deform_psroi_pool", rows_of(bench, LOADS))
