"""roi_align against torchvision's: the features of a ResNet's conv4, and a level of a pyramid."""

import torch
import torchvision
from common import interleave, report, rows_of
from loads import HEIGHT, SCALE, WIDTH, K, random_rois
from torch import Tensor

from rfcn.ops.roi_align import roi_align

LOADS = [(1024, 300, 2), (1024, 300, 0), (256, 1000, 2)]
"""(channels, RoIs, samples a bin and axis; 0: adaptive)."""
ROUNDS = 5


def same(ours: Tensor, theirs: Tensor) -> None:
    """Stops where the figures are not torchvision's."""
    if (ours - theirs).abs().max() > 1e-5 * max(1.0, float(theirs.abs().max())):
        raise SystemExit("the results differ")


def bench(channels: int, count: int, ratio: int) -> list[dict[str, object]]:
    """Forward and backward, from planes and from channels-last features."""
    rois = random_rois(count)
    maps = torch.randn(1, channels, HEIGHT, WIDTH)
    candidates = {
        "rfcn, planes": (maps, roi_align),
        "rfcn, channels-last": (maps.contiguous(memory_format=torch.channels_last), roi_align),
        "torchvision": (maps, torchvision.ops.roi_align),
    }
    theirs = torchvision.ops.roi_align(maps, rois, (K, K), SCALE, ratio, True)
    gradient = torch.randn_like(theirs)
    forward, backward, gradients = {}, {}, {}
    for name, (one, pool) in candidates.items():
        leaf = one.detach().requires_grad_()
        pooled = pool(leaf, rois, (K, K), SCALE, ratio, True)
        same(pooled, theirs)
        given = gradient.clone(memory_format=torch.channels_last) if "last" in name else gradient
        forward[name] = lambda one=one, pool=pool: pool(one, rois, (K, K), SCALE, ratio, True)
        backward[name] = lambda pooled=pooled, leaf=leaf, given=given: torch.autograd.grad(
            pooled, leaf, given, retain_graph=True
        )
        (gradients[name],) = backward[name]()
    for one in gradients.values():
        same(one, gradients["torchvision"])
    load = {"channels": channels, "rois": count, "samples": ratio or "adaptive"}
    return [
        {**load, "part": part, "ms": interleave(one, ROUNDS, touches=[maps, theirs])}
        for part, one in (("forward", forward), ("backward", backward))
    ]


if __name__ == "__main__":
    report("roi_align", rows_of(bench, LOADS))
