"""soft_nms in plain PyTorch, for any device."""

import torch
from torch import Tensor

from rfcn.boxes import iou


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    decay: int,
    threshold: float,
    sigma: float,
    score_threshold: float,
    limit: int,
) -> Tensor:
    """boxes: [B, 4], scores: [B] -> [B], the score with which each box is taken, or -inf.

    decay: 0 linear, 1 gaussian. limit: -1 for none. See `rfcn.ops.soft_nms`.
    """
    left = torch.where(scores >= score_threshold, scores, -torch.inf)
    rescored = torch.full_like(scores, -torch.inf)
    for _ in range(len(boxes) if limit < 0 else limit):
        best = int(left.argmax()) if len(left) else -1
        if best < 0 or left[best] == -torch.inf:
            break
        rescored[best] = left[best]
        left[best] = -torch.inf
        overlap = iou(boxes[best : best + 1], boxes)[0]
        if decay == 1:
            weight = torch.exp(-(overlap * overlap) / sigma)
        else:
            weight = torch.where(overlap > threshold, 1 - overlap, 1)
        if groups is not None:
            weight = torch.where(groups == groups[best], weight, 1)
        lowered = left * weight
        left = torch.where(lowered >= score_threshold, lowered, -torch.inf)
    return rescored
