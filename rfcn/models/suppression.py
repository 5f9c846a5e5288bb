"""What becomes of detections of one object: dropped, weakened, or asked where the object is.

Legend: B candidate boxes of one picture, one class each; K of them become detections.
"""

from typing import Literal, Protocol

from torch import Tensor

from rfcn.ops.box_voting import box_voting
from rfcn.ops.nms import nms
from rfcn.ops.soft_nms import soft_nms


class Suppression(Protocol):
    """(boxes, scores, labels, limit) -> the best of each cluster and their scores."""

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, limit: int
    ) -> tuple[Tensor, Tensor]: ...


class HardNMS:
    """The weaker of two boxes of a class is dropped (paper, section 3).

    Args:
        threshold: largest IoU at which both stay, 0..1.
    """

    def __init__(self, threshold: float = 0.3) -> None:
        self.threshold = threshold

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, limit: int
    ) -> tuple[Tensor, Tensor]:
        """boxes: [B, 4], scores: [B], labels: [B] int64 -> indices [K <= limit], best first, and
        their scores [K]."""
        kept = nms(boxes, scores, self.threshold, groups=labels, limit=limit)
        return kept, scores[kept]


class SoftNMS:
    """The score of the weaker falls; how far, `rfcn.ops.soft_nms` says (arXiv 1704.04503).

    Args:
        method: `linear` or `gaussian`. threshold: largest IoU that costs nothing, of `linear`.
        sigma: reach of `gaussian`. score_threshold: a box whose score falls below is dropped.
    """

    def __init__(
        self,
        *,
        method: Literal["linear", "gaussian"] = "linear",
        threshold: float = 0.3,
        sigma: float = 0.5,
        score_threshold: float = 1e-3,
    ) -> None:
        self.method = method
        self.threshold = threshold
        self.sigma = sigma
        self.score_threshold = score_threshold

    def __call__(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, limit: int
    ) -> tuple[Tensor, Tensor]:
        """boxes: [B, 4], scores: [B], labels: [B] int64 -> indices [K <= limit] in the order of
        their new scores [K]."""
        return soft_nms(
            boxes,
            scores,
            method=self.method,
            threshold=self.threshold,
            sigma=self.sigma,
            score_threshold=self.score_threshold,
            groups=labels,
            limit=limit,
        )


class BoxVoting:
    """What is left of a cluster moves to the mean of the whole of it (arXiv 1505.01749).

    Args:
        threshold: least IoU that gives a vote. scoring: the new score, see `rfcn.ops.box_voting`.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        scoring: Literal["keep", "average", "maximum"] = "keep",
    ) -> None:
        self.threshold = threshold
        self.scoring = scoring

    def __call__(
        self, boxes: Tensor, scores: Tensor, kept: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """boxes: [B, 4], scores: [B], labels: [B] int64, of all candidates; kept: [K] int64 ->
        boxes [K, 4], and scores [K] where the voters decide them too."""
        voted, rescored = box_voting(
            boxes, scores, kept, threshold=self.threshold, groups=labels, scoring=self.scoring
        )
        return voted, None if self.scoring == "keep" else rescored
