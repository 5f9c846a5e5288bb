"""nms in plain PyTorch, for any device."""

import torch
from torch import Tensor


def nms(boxes: Tensor, groups: Tensor | None, threshold: float, limit: int) -> Tensor:
    """boxes: [B, 4], best first -> [B] bool, which are kept; see `rfcn.ops.nms`."""
    count = len(boxes)
    alive = torch.ones(count, dtype=torch.bool, device=boxes.device)
    keep = torch.zeros_like(alive)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    at = 0
    for _ in range(limit):
        left = alive[at:].nonzero()
        if len(left) == 0:
            break
        at += int(left[0])
        keep[at] = True
        rest = boxes[at + 1 :]
        sides = torch.minimum(rest[:, 2:], boxes[at, 2:]) - torch.maximum(
            rest[:, :2], boxes[at, :2]
        )
        common = sides.clamp(min=0).prod(dim=1)
        hit = common / (area[at] + area[at + 1 :] - common) > threshold
        if groups is not None:
            hit &= groups[at + 1 :] == groups[at]
        alive[at + 1 :] &= ~hit
        at += 1
        if at >= count:
            break
    return keep
