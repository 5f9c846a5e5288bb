"""soft_nms from its definition: one box taken at a time, the others' scores lowered."""

import math
from collections.abc import Callable

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

    def best(left: dict[int, float]) -> int:
        return min(left, key=lambda n: (-left[n], n))

    weight_of = decay(method, threshold, sigma)
    return take(boxes, scores, weight_of, best, score_threshold, groups, limit)


def decay(method: str, threshold: float, sigma: float) -> Callable[[float], float]:
    """What a score is multiplied by, of the overlap."""
    if method == "gaussian":
        return lambda overlap: math.exp(-(overlap**2) / sigma)
    return lambda overlap: 1 - overlap if overlap > threshold else 1.0


def take(
    boxes: Tensor,
    scores: Tensor,
    weight_of: Callable[[float], float],
    choose: Callable[[dict[int, float]], int | None],
    score_threshold: float,
    groups: Tensor | None,
    limit: int | None,
) -> tuple[list[int], list[float]]:
    """The same, where `choose` names the next box of those left and their scores; None ends."""
    rows = boxes.double().tolist()
    left = {n: float(s) for n, s in enumerate(scores.tolist()) if s >= score_threshold}
    taken: dict[int, float] = {}
    while left and (limit is None or len(taken) < limit):
        chosen = choose(left)
        if chosen is None:
            break
        taken[chosen] = left.pop(chosen)
        for n in list(left):
            if groups is not None and groups[n] != groups[chosen]:
                continue
            left[n] *= weight_of(_iou(rows[chosen], rows[n]))
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
    return min(ratio, 1.0) if ratio > 0 else 0.0  # NaN: numbers that are not finite
