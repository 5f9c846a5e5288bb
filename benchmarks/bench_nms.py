"""nms in its forms against torchvision's, on spread boxes and on clusters such as an RPN gives."""

import torch
import torchvision
from common import interleave, report, rows_of
from torch import Tensor

from rfcn.ops.nms import batched_nms, nms
from rfcn.ops.soft_nms import soft_nms

RPN_THRESHOLD, TEST_THRESHOLD = 0.7, 0.3
LOADS = [(kind, count) for kind in ("spread", "clustered") for count in (6000, 12000)]
CLASSES = 20


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


def bench(kind: str, count: int) -> list[dict[str, object]]:
    """All kept, the first 300 kept, and torchvision; their results are compared too."""
    g = torch.Generator().manual_seed(1)
    boxes = {"spread": spread, "clustered": clustered}[kind](count, g)
    scores = torch.rand(count, generator=g)
    kept = torchvision.ops.nms(boxes, scores, RPN_THRESHOLD)
    if not torch.equal(kept, nms(boxes, scores, RPN_THRESHOLD)):
        raise SystemExit("the results differ")
    candidates = {
        "rfcn": lambda: nms(boxes, scores, RPN_THRESHOLD),
        "rfcn, first 300": lambda: nms(boxes, scores, RPN_THRESHOLD, limit=300),
        "torchvision": lambda: torchvision.ops.nms(boxes, scores, RPN_THRESHOLD),
    }
    times = interleave(candidates, 9)
    return [{"op": "nms", "boxes": count, "kind": kind, "kept": len(kept), "ms": times}]


def bench_classes(rois: int) -> list[dict[str, object]]:
    """The end of a detector: each RoI scored for every class. Soft-NMS has no rival there."""
    g = torch.Generator().manual_seed(2)
    boxes = clustered(rois, g).repeat_interleave(CLASSES, 0)
    scores, groups = torch.rand(len(boxes), generator=g), torch.arange(CLASSES).repeat(rois)
    kept = torchvision.ops.batched_nms(boxes, scores, groups, TEST_THRESHOLD)
    candidates = {
        "rfcn": lambda: batched_nms(boxes, scores, groups, TEST_THRESHOLD),
        "rfcn, first 300": lambda: batched_nms(boxes, scores, groups, TEST_THRESHOLD, limit=300),
        "torchvision": lambda: torchvision.ops.batched_nms(boxes, scores, groups, TEST_THRESHOLD),
    }
    load = {"boxes": len(boxes), "kind": f"{CLASSES} classes"}
    rows = [{"op": "batched_nms", **load, "kept": len(kept), "ms": interleave(candidates, 9)}]
    for method in ("linear", "gaussian"):
        indices, _ = soft_nms(boxes, scores, method=method, groups=groups)
        candidates = {
            "rfcn": lambda method=method: soft_nms(boxes, scores, method=method, groups=groups),
            "rfcn, first 300": lambda method=method: soft_nms(
                boxes, scores, method=method, groups=groups, limit=300
            ),
        }
        times = interleave(candidates, 9)
        rows.append({"op": f"soft_nms, {method}", **load, "kept": len(indices), "ms": times})
    return rows


if __name__ == "__main__":
    report("nms", rows_of(bench, LOADS) + rows_of(bench_classes, [(300,)]))
