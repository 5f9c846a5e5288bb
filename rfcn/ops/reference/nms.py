"""nms from its definition: each box against every box kept before it."""

import numpy as np
from torch import Tensor


def nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> list[int]:
    """The kept indices, best first: each box against every box kept before it."""
    rows = boxes.numpy()
    order = sorted(
        (index for index, score in enumerate(scores.tolist()) if score == score),
        key=lambda index: (-float(scores[index]), index),
    )
    kept: list[int] = []
    for index in order:
        if limit is not None and len(kept) == limit:
            break
        rivals = [one for one in kept if groups is None or int(groups[one]) == int(groups[index])]
        if not any(_iou(rows[one], rows[index]) > threshold for one in rivals):
            kept.append(index)
    return kept


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), a.dtype.type(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), a.dtype.type(0))
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if common > 0 else 0.0
