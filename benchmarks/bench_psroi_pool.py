"""psroi_pool against torchvision's ps_roi_pool."""

import torch
import torchvision
from common import interleave, report
from loads import HEIGHT, LOADS, SCALE, WIDTH, K, memory_orders, random_rois

from rfcn.ops.psroi_pool import psroi_pool


def bench(classes: int, count: int) -> list[dict[str, object]]:
    """Forward, forward with vote, and backward of the vote."""
    rois = random_rois(count)
    maps = torch.randn(1, classes * K * K, HEIGHT, WIDTH)
    pools = {
        f"rfcn, {name}": (one, lambda m: psroi_pool(m, rois, K, SCALE))
        for name, one in memory_orders(maps).items()
    }
    pools["torchvision"] = (maps, lambda m: torchvision.ops.ps_roi_pool(m, rois, K, SCALE))
    forward, voted, backward = {}, {}, {}
    for name, (one, pool) in pools.items():
        leaf = one.detach().requires_grad_()
        vote = pool(leaf).mean((2, 3))
        gradient = torch.randn_like(vote)
        forward[name] = lambda one=one, pool=pool: pool(one)
        voted[name] = lambda one=one, pool=pool: pool(one).mean((2, 3))
        backward[name] = lambda vote=vote, leaf=leaf, gradient=gradient: torch.autograd.grad(
            vote, leaf, gradient, retain_graph=True
        )
    bins = torch.empty(count, classes, K, K)
    parts = {
        "bins": (forward, [maps, bins]),
        "voted": (voted, [maps, vote]),
        "backward of voted": (backward, [vote, maps]),
    }
    return [
        {
            "channels": classes * K * K,
            "rois": count,
            "part": part,
            "ms": interleave(candidates, touches=touches),
        }
        for part, (candidates, touches) in parts.items()
    ]


if __name__ == "__main__":
    report("psroi_pool", [row for load in LOADS for row in bench(*load)])
