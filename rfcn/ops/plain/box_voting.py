"""box_voting in plain PyTorch, for any device: a matrix of votes times the boxes."""

import torch
from torch import Tensor

from rfcn.boxes import iou

CHUNK_PAIRS = 1 << 21
"""Pairs of boxes worked on at a time, which bounds the memory: about 64 MB."""


def box_voting(
    boxes: Tensor,
    scores: Tensor,
    kept: Tensor,
    threshold: float,
    groups: Tensor | None,
    scoring: str,
) -> tuple[Tensor, Tensor]:
    """boxes: [B, 4], scores: [B], kept: [K] -> [K, 4] and [K]; see `rfcn.ops.box_voting`."""
    if len(kept) == 0:
        return boxes[kept], scores[kept]
    step = max(1, CHUNK_PAIRS // len(boxes))
    parts = [_vote(boxes, scores, one, threshold, groups, scoring) for one in kept.split(step)]
    voted, rescored = zip(*parts, strict=True)
    return torch.cat(voted), torch.cat(rescored)


def _vote(
    boxes: Tensor,
    scores: Tensor,
    kept: Tensor,
    threshold: float,
    groups: Tensor | None,
    scoring: str,
) -> tuple[Tensor, Tensor]:
    """The same for as many kept boxes as memory allows."""
    votes = iou(boxes[kept], boxes) >= threshold
    finite = boxes.isfinite().all(dim=1)
    votes &= (scores >= 0) & finite  # nor is a NaN at least 0
    if groups is not None:
        votes &= groups[kept][:, None] == groups
    weights = torch.where(votes, scores.double(), 0.0)
    corners = torch.where(finite[:, None], boxes.double(), 0.0)  # infinity times zero is not zero
    total = weights.sum(dim=1)
    heard = total > 0
    mean = (weights @ corners) / torch.where(heard, total, 1.0)[:, None]
    voted = torch.where(heard[:, None], mean.to(boxes.dtype), boxes[kept])
    own = scores[kept]
    if scoring == "keep":
        return voted, own
    count = votes.sum(dim=1)
    other = weights.amax(dim=1) if scoring == "maximum" else total / count.clamp(min=1)
    return voted, torch.where(count > 0, other.to(own.dtype), own)
