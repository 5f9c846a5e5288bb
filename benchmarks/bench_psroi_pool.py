"""psroi_pool and psroi_vote against torchvision's ps_roi_pool, and its mean over the bins."""

from collections.abc import Callable

import torch
import torchvision
from common import interleave, report, rows_of
from loads import HEIGHT, LOADS, SCALE, WIDTH, K, memory_orders, random_rois
from torch import Tensor

from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.psroi_vote import psroi_vote

Pool = Callable[[Tensor, Tensor, int, float], Tensor]


def rival_pool(maps: Tensor, rois: Tensor, k: int, scale: float) -> Tensor:
    """The bins, by torchvision."""
    return torchvision.ops.ps_roi_pool(maps, rois, k, scale)


def rival_vote(maps: Tensor, rois: Tensor, k: int, scale: float) -> Tensor:
    """Their mean, as a detector on torchvision has to take it."""
    return rival_pool(maps, rois, k, scale).mean((2, 3))


def bench(classes: int, count: int) -> list[dict[str, object]]:
    """The bins and the vote, forward and backward, of one load."""
    rois = random_rois(count)
    maps = torch.randn(1, classes * K * K, HEIGHT, WIDTH)
    rows: list[dict[str, object]] = []
    for part, own, rival in (("bins", psroi_pool, rival_pool), ("vote", psroi_vote, rival_vote)):
        forward, backward = {}, {}
        orders: list[tuple[str, Tensor, Pool]] = [
            (f"rfcn, {name}", one, own) for name, one in memory_orders(maps).items()
        ]
        for name, one, pool in [*orders, ("torchvision", maps, rival)]:
            leaf = one.detach().requires_grad_()
            result = pool(leaf, rois, K, SCALE)
            gradient = torch.randn_like(result)
            forward[name] = lambda one=one, pool=pool: pool(one, rois, K, SCALE)
            backward[name] = lambda result=result, leaf=leaf, gradient=gradient: (
                torch.autograd.grad(result, leaf, gradient, retain_graph=True)
            )
        load = {"channels": classes * K * K, "rois": count}
        touches = [maps, result]
        for kind, candidates in (("forward", forward), ("backward", backward)):
            times = interleave(candidates, 9, touches=touches)
            rows.append({**load, "part": f"{part}, {kind}", "ms": times})
    return rows


if __name__ == "__main__":
    report("psroi_pool", rows_of(bench, LOADS))
