"""nms in plain PyTorch, for any device.

How many boxes are looked at depends on their values, which no graph can hold: to `torch.compile`
and `torch.export` it is one operator of its own.
"""

import torch
from torch import Tensor


@torch.library.custom_op("rfcn_plain::nms", mutates_args=())
def nms(boxes: Tensor, groups: Tensor | None, threshold: float, limit: int) -> Tensor:
    """boxes: [B, 4], best first -> [B] bool, which are kept; see `rfcn.ops.nms`. limit < 0: all."""
    count = len(boxes)
    alive = torch.ones(count, dtype=torch.bool, device=boxes.device)
    keep = torch.zeros_like(alive)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    at = 0
    for _ in range(count if limit < 0 else limit):
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


@nms.register_fake
def _fake(boxes: Tensor, groups: Tensor | None, threshold: float, limit: int) -> Tensor:
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


OPERATOR = torch.ops.rfcn_plain.nms.default
