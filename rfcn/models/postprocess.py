"""From raw outputs to detections."""

from collections.abc import Sequence

from torch import Tensor

from rfcn.boxes import clip, decode, rescale
from rfcn.ops.nms import nms
from rfcn.structures import Detections, ImageBatch, RoIOutputs


class PostProcess:
    """Softmax, decode, rescale, clip, threshold, NMS within each class, best N.

    Args:
        score_threshold: weaker detections are dropped. nms_threshold: IoU above which the weaker
        of two detections of a class is dropped. max_detections: most a picture, of all classes.
        box_std: what the box targets were divided by.
    """

    def __init__(
        self,
        *,
        score_threshold: float = 1e-3,
        nms_threshold: float = 0.3,
        max_detections: int = 300,
        box_std: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
    ) -> None:
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections
        self.box_std = tuple(box_std)

    def __call__(
        self, outputs: RoIOutputs, proposals: Sequence[Tensor], batch: ImageBatch
    ) -> list[Detections]:
        """outputs of all RoIs, picture by picture; proposals: N tensors [P_i, 4] -> N detections,
        in pixels of the original pictures."""
        counts = [one.shape[0] for one in proposals]
        scores = outputs.class_logits.float().softmax(dim=1).split(counts)
        deltas = outputs.box_deltas.float().split(counts)
        return [
            self._one(*one)
            for one in zip(
                scores, deltas, proposals, batch.sizes, batch.original_sizes, strict=True
            )
        ]

    def _one(
        self,
        scores: Tensor,
        deltas: Tensor,
        proposals: Tensor,
        size: tuple[int, int],
        original_size: tuple[int, int],
    ) -> Detections:
        boxes = decode(deltas, proposals[:, None], self.box_std)  # [P, S, 4]
        boxes = clip(rescale(boxes, size, original_size), original_size)
        rows, classes = (scores[:, 1:] > self.score_threshold).nonzero(as_tuple=True)
        labels = classes + 1
        boxes = boxes[rows, labels.clamp(max=deltas.shape[1] - 1)]
        scores = scores[rows, labels]
        kept = nms(boxes, scores, self.nms_threshold, groups=labels, limit=self.max_detections)
        return Detections(boxes[kept], scores[kept], labels[kept], rois=rows[kept])
