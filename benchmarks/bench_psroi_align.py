"""psroi_align against torchvision's ps_roi_align, on the maps of every memory order."""

import torch
import torchvision
from common import interleave, report, rows_of
from loads import HEIGHT, SCALE, WIDTH, K, memory_orders, random_rois
from torch import Tensor

from rfcn.ops.psroi_align import psroi_align

LOADS = [(21, 300), (21, 2000), (8, 300)]
"""(classes with background, RoIs)."""
SAMPLES = 2


def rival(maps: Tensor, rois: Tensor, k: int, scale: float) -> Tensor:
    """The same by torchvision."""
    return torchvision.ops.ps_roi_align(maps, rois, k, scale, SAMPLES)


def own(maps: Tensor, rois: Tensor, k: int, scale: float) -> Tensor:
    """Two samples a bin and axis."""
    return psroi_align(maps, rois, k, scale, SAMPLES)


def bench(classes: int, count: int) -> list[dict[str, object]]:
    """Forward and backward of one load."""
    rois = random_rois(count)
    maps = torch.randn(1, classes * K * K, HEIGHT, WIDTH)
    theirs = rival(maps, rois, K, SCALE)
    forward, backward = {}, {}
    orders = [(f"rfcn, {name}", one, own) for name, one in memory_orders(maps).items()]
    for name, one, pool in [*orders, ("torchvision", maps, rival)]:
        leaf = one.detach().requires_grad_()
        result = pool(leaf, rois, K, SCALE)
        if (result - theirs).abs().max() > 1e-5:
            raise SystemExit("the results differ")
        gradient = torch.randn_like(result)
        forward[name] = lambda one=one, pool=pool: pool(one, rois, K, SCALE)
        backward[name] = lambda result=result, leaf=leaf, gradient=gradient: torch.autograd.grad(
            result, leaf, gradient, retain_graph=True
        )
    load = {"channels": classes * K * K, "rois": count}
    return [
        {**load, "part": part, "ms": interleave(one, 9, touches=[maps, theirs])}
        for part, one in (("forward", forward), ("backward", backward))
    ]


if __name__ == "__main__":
    report("psroi_align", rows_of(bench, LOADS))
