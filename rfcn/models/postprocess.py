"""From raw outputs to detections."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfcn.boxes import clip, decode, rescale
from rfcn.models.suppression import BoxVoting, HardNMS, Suppression
from rfcn.structures import Candidates, Detections, ImageBatch, RoIOutputs


class PostProcess:
    """Softmax, decode, rescale, clip, threshold, suppression within each class, best N.

    Args:
        score_threshold: weaker detections are dropped. suppression: chooses among boxes of one
        object, NMS above an IoU of 0.3 by default. box_voting: moves what it chose, where given.
        max_detections: most a picture, of all classes. box_std: what the box targets were divided
        by.
    """

    def __init__(
        self,
        *,
        score_threshold: float = 1e-3,
        suppression: Suppression | None = None,
        box_voting: BoxVoting | None = None,
        max_detections: int = 300,
        box_std: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
    ) -> None:
        self.score_threshold = score_threshold
        self.suppression = suppression or HardNMS()
        self.box_voting = box_voting
        self.max_detections = max_detections
        self.box_std = tuple(box_std)

    def __call__(
        self, outputs: RoIOutputs, proposals: Sequence[Tensor], batch: ImageBatch
    ) -> list[Detections]:
        """outputs of all RoIs, picture by picture; proposals: N tensors [P_i, 4] -> N detections,
        in pixels of the original pictures."""
        return [self.select(one) for one in self.candidates(outputs, proposals, batch)]

    def candidates(
        self, outputs: RoIOutputs, proposals: Sequence[Tensor], batch: ImageBatch
    ) -> list[Candidates]:
        """The boxes and scores of all proposals of each picture, in its original pixels."""
        counts = [one.shape[0] for one in proposals]
        scores = outputs.class_logits.float().softmax(dim=1).split(counts)
        deltas = outputs.box_deltas.float().split(counts)
        found = []
        for picture, rois in enumerate(proposals):
            size, original_size = batch.sizes[picture], batch.original_sizes[picture]
            boxes = decode(deltas[picture], rois[:, None], self.box_std)
            boxes = clip(rescale(boxes, size, original_size), original_size)
            places = torch.arange(len(rois), device=rois.device)
            found.append(Candidates(boxes, scores[picture], places))
        return found

    def select(self, candidates: Candidates) -> Detections:
        """The detections of one picture: above the threshold, best of each cluster, best N."""
        boxes, scores, rois = candidates
        rows, classes = (scores[:, 1:] > self.score_threshold).nonzero(as_tuple=True)
        labels = classes + 1
        boxes = boxes[rows, labels.clamp(max=boxes.shape[1] - 1)]
        scores = scores[rows, labels]
        kept, found = self.suppression(boxes, scores, labels, self.max_detections)
        places = boxes[kept]
        if self.box_voting is not None:
            places, rescored = self.box_voting(boxes, scores, kept, labels)
            if rescored is not None:
                found, order = rescored.sort(descending=True, stable=True)
                kept, places = kept[order], places[order]
        return Detections(places, found, labels[kept], rois=rois[rows[kept]])
