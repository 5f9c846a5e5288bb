"""psroi_pool against torchvision's ps_roi_pool, on maps of a 600 x 1000 picture at stride 16."""

import torch
import torchvision
from common import interleave, report
from torch import Tensor

from rfcn.ops.psroi_pool import psroi_pool

K, HEIGHT, WIDTH, SCALE = 7, 38, 63, 1 / 16
LOADS = [(21, 300), (21, 2000), (8, 300), (81, 300), (81, 2000)]  # classes with background, RoIs


def random_rois(count: int) -> Tensor:
    """Boxes of 20 to 400 pixels, spread over the picture."""
    g = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=g) * torch.tensor([1000.0, 600.0])
    sides = torch.exp(3 + 3 * torch.rand(count, 2, generator=g))
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    limit = torch.tensor([999.0, 599.0, 999.0, 599.0])
    return torch.cat([torch.zeros(count, 1), corners.clamp(min=0).minimum(limit)], dim=1)


def memory_orders(maps: Tensor) -> dict[str, Tensor]:
    """The same maps as planes, channels-last, and channels-last with the channels bin by bin."""
    by_bin = maps.unflatten(1, (-1, K, K)).permute(0, 4, 5, 2, 3, 1).contiguous()
    return {
        "planes": maps,
        "channels-last": maps.contiguous(memory_format=torch.channels_last),
        "by bin": by_bin.permute(0, 5, 3, 4, 1, 2),
    }


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
    parts = {"bins": forward, "voted": voted, "backward of voted": backward}
    return [
        {"channels": classes * K * K, "rois": count, "part": part, "ms": interleave(candidates)}
        for part, candidates in parts.items()
    ]


if __name__ == "__main__":
    report("psroi_pool", [row for load in LOADS for row in bench(*load)])
