"""roi_average_pool of 1,024 channels, beside psroi_pool of maps that all bins share.

torchvision has no such operator; the second way is what one would do without it (forward only: its
backward makes a gradient for every bin before it adds them).
"""

import torch
from common import interleave, report, rows_of
from loads import HEIGHT, SCALE, WIDTH, random_rois

from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.roi_average_pool import roi_average_pool

CHANNELS = 1024
LOADS = [(3, 300), (3, 2000), (7, 100), (7, 300)]
"""(k, RoIs)."""


def bench(k: int, count: int) -> list[dict[str, object]]:
    """Forward on both memory orders, and backward."""
    rois = random_rois(count)
    planes = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
    last = planes.contiguous(memory_format=torch.channels_last)
    shared = last[:, :, None, None].expand(-1, -1, k, k, -1, -1)
    leaf = last.clone().requires_grad_()
    pooled = roi_average_pool(leaf, rois, k, SCALE)
    gradient = torch.randn(count, k, k, CHANNELS).permute(0, 3, 1, 2)
    forward = {
        "rfcn, channels-last": lambda: roi_average_pool(last, rois, k, SCALE),
        "rfcn, planes": lambda: roi_average_pool(planes, rois, k, SCALE),
        "psroi_pool, shared maps": lambda: psroi_pool(shared, rois, k, SCALE),
    }
    backward = {
        "rfcn, channels-last": lambda: torch.autograd.grad(
            pooled, leaf, gradient, retain_graph=True
        )
    }
    touches = [last, pooled.detach()]
    return [
        {"k": k, "rois": count, "part": part, "ms": interleave(candidates, 9, touches=touches)}
        for part, candidates in (("forward", forward), ("backward", backward))
    ]


if __name__ == "__main__":
    report("roi_average_pool", rows_of(bench, LOADS))
