"""box_voting from its definition: every kept box asks every box of its group."""

import numpy as np
import torch
from torch import Tensor


def box_voting(
    boxes: Tensor,
    scores: Tensor,
    kept: Tensor,
    *,
    threshold: float = 0.5,
    groups: Tensor | None = None,
    scoring: str = "keep",
) -> tuple[Tensor, Tensor]:
    """boxes: [B, 4], scores: [B], kept: [K] -> boxes [K, 4] and scores [K], float64."""
    rows, weights = boxes.numpy(), scores.double().tolist()
    voted = boxes[kept].double().numpy()
    rescored = scores[kept].double().tolist()
    for place, index in enumerate(kept.tolist()):
        voters = [
            n
            for n, weight in enumerate(weights)
            if weight >= 0
            and np.isfinite(rows[n]).all()
            and (groups is None or groups[n] == groups[index])
            and _iou(rows[index], rows[n]) >= threshold
        ]
        said = np.array([weights[n] for n in voters])
        if said.sum() > 0:
            voted[place] = (said[:, None] * rows[voters].astype(float)).sum(0) / said.sum()
        if voters and scoring == "average":
            rescored[place] = said.mean()
        if voters and scoring == "maximum":
            rescored[place] = said.max()
    return torch.from_numpy(voted), torch.tensor(rescored, dtype=torch.float64)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if not (width > 0 and height > 0):
        return 0.0
    common = width * height
    ratio = float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))
    return ratio if ratio > 0 else 0.0  # NaN: sides longer than a number
