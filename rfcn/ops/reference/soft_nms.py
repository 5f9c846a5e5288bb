"""soft_nms from its definition: one box taken at a time, the others' scores lowered."""

import math

from torch import Tensor


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    method: str = "linear",
    threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    groups: Tensor | None = None,
    limit: int | None = None,
) -> tuple[list[int], list[float]]:
    """The taken indices, best first, and their scores when taken, all in float64."""
    rows = boxes.double().tolist()
    left = {n: float(s) for n, s in enumerate(scores.tolist()) if s >= score_threshold}
    taken: dict[int, float] = {}
    while left and (limit is None or len(taken) < limit):
        best = min(left, key=lambda n: (-left[n], n))
        taken[best] = left.pop(best)
        for n in list(left):
            if groups is not None and groups[n] != groups[best]:
                continue
            overlap = _iou(rows[best], rows[n])
            if method == "gaussian":
                left[n] *= math.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                left[n] *= 1 - overlap
            if left[n] < score_threshold:
                del left[n]
    return list(taken), list(taken.values())


def _iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if not (width > 0 and height > 0):
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    ratio = width * height / (both - width * height)
    return ratio if ratio > 0 else 0.0  # NaN: numbers that are not finite
