"""roi_pool against torchvision's: the features of a ResNet's and of a VGG's conv5."""

import torch
import torchvision
from common import interleave, report, rows_of
from loads import HEIGHT, SCALE, WIDTH, K, random_rois

from rfcn.ops.roi_pool import roi_pool

LOADS = [(1024, 300), (512, 300), (512, 2000)]  # channels, RoIs


def bench(channels: int, count: int) -> list[dict[str, object]]:
    """Forward in inference and in training (which keeps the winning cells), and backward."""
    rois = random_rois(count)
    maps = torch.randn(1, channels, HEIGHT, WIDTH)
    theirs = torchvision.ops.roi_pool(maps, rois, (K, K), SCALE)
    if not torch.equal(theirs, roi_pool(maps, rois, K, SCALE)):
        raise SystemExit("the results differ")
    candidates = {
        "rfcn, planes": (maps, roi_pool),
        "rfcn, channels-last": (maps.contiguous(memory_format=torch.channels_last), roi_pool),
        "torchvision": (maps, torchvision.ops.roi_pool),
    }
    inference, training, backward = {}, {}, {}
    for name, (one, pool) in candidates.items():
        leaf = one.detach().requires_grad_()
        pooled = pool(leaf, rois, (K, K), SCALE)
        gradient = torch.randn_like(pooled)
        inference[name] = lambda one=one, pool=pool: pool(one, rois, (K, K), SCALE)
        training[name] = lambda leaf=leaf, pool=pool: pool(leaf, rois, (K, K), SCALE)
        backward[name] = lambda pooled=pooled, leaf=leaf, gradient=gradient: torch.autograd.grad(
            pooled, leaf, gradient, retain_graph=True
        )
    parts = {"forward": inference, "forward, training": training, "backward": backward}
    return [
        {
            "channels": channels,
            "rois": count,
            "part": part,
            "ms": interleave(one, 9, touches=[maps, theirs]),
        }
        for part, one in parts.items()
    ]


if __name__ == "__main__":
    report("roi_pool", rows_of(bench, LOADS))
