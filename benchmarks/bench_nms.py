"""nms against torchvision's, on spread boxes and on clusters such as an RPN gives."""

import torch
import torchvision
from common import interleave, report
from torch import Tensor

from rfcn.ops.nms import nms

THRESHOLD = 0.7


def spread(count: int, g: torch.Generator) -> Tensor:
    """Boxes of 15 to 180 pixels anywhere in a 600 x 1000 picture."""
    centres = torch.rand(count, 2, generator=g) * torch.tensor([1000.0, 600.0])
    sides = torch.exp(2.7 + 2.5 * torch.rand(count, 2, generator=g))
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def clustered(count: int, g: torch.Generator) -> Tensor:
    """Boxes that jitter around 60 objects."""
    objects = torch.rand(60, 2, generator=g) * torch.tensor([1000.0, 600.0])
    centres = objects[torch.randint(0, 60, (count,), generator=g)]
    centres = centres + 15 * torch.randn(count, 2, generator=g)
    sides = 100 * torch.exp(0.3 * torch.randn(count, 2, generator=g))
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def bench(kind: str, count: int) -> dict[str, object]:
    """All kept, the first 300 kept, and torchvision; their results are compared too."""
    g = torch.Generator().manual_seed(1)
    boxes = {"spread": spread, "clustered": clustered}[kind](count, g)
    scores = torch.rand(count, generator=g)
    kept = torchvision.ops.nms(boxes, scores, THRESHOLD)
    if not torch.equal(kept, nms(boxes, scores, THRESHOLD)):
        raise SystemExit("the results differ")
    candidates = {
        "rfcn": lambda: nms(boxes, scores, THRESHOLD),
        "rfcn, first 300": lambda: nms(boxes, scores, THRESHOLD, limit=300),
        "torchvision": lambda: torchvision.ops.nms(boxes, scores, THRESHOLD),
    }
    return {"boxes": count, "kind": kind, "kept": len(kept), "ms": interleave(candidates, 9)}


if __name__ == "__main__":
    report("nms", [bench(kind, n) for kind in ("spread", "clustered") for n in (6000, 12000)])
