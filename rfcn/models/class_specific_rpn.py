"""The paper's one-stage control: an RPN that tells classes apart is the detector (section 4.1).

Legend: N pictures, K anchors of a picture, C classes without background.
"""

from typing import overload

import torch
from torch import Tensor, nn

from rfcn.models.anchors import AnchorGrid
from rfcn.models.postprocess import PostProcess
from rfcn.models.rpn import AnchorLoss, RPNHead
from rfcn.structures import Detections, Features, ImageBatch, RoIOutputs, Target


class ClassAnchorLoss(AnchorLoss):
    """The loss of the RPN, whose positive anchors should name the class of their object."""

    def meaning(self, labels: Tensor) -> Tensor:
        """The classes themselves."""
        return labels


class ClassSpecificRPN(nn.Module):
    """Anchors scored for every class, moved, and cleared of doubles: nothing follows.

    Args:
        normalize: batch -> normalised pictures. backbone: pictures -> `Features`.
        proposer: scores and moves the anchors, on the features of heads. Its name is that of the
            RPN it is otherwise.
        anchors: the grid it scores. loss: what it is trained with.
        postprocess: scores and offsets -> detections; its `box_std` is 1, as of every RPN.
        candidates: anchors of highest score that are looked at.
    """

    def __init__(
        self,
        *,
        normalize: nn.Module,
        backbone: nn.Module,
        proposer: RPNHead,
        anchors: AnchorGrid,
        loss: ClassAnchorLoss,
        postprocess: PostProcess,
        candidates: int = 6000,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.proposer = proposer
        self.anchors = anchors
        self.loss = loss
        self.postprocess = postprocess
        self.candidates = candidates

    @overload
    def forward(self, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]: ...

    @overload
    def forward(self, batch: ImageBatch, targets: None = None) -> list[Detections]: ...

    def forward(
        self, batch: ImageBatch, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """With targets, a dict of scalar losses; without, the detections of each picture."""
        features: Features = self.backbone(self.normalize(batch))
        cells = features.roi.shape[-2:]
        outputs = self.proposer(features.roi)
        anchors = self.anchors(*cells)
        if targets is not None:
            return self.loss(outputs, anchors, batch, targets)
        kept = self._best(outputs.logits, self.anchors.in_pictures(batch.sizes, *cells))
        logits = torch.cat([one[k] for one, k in zip(outputs.logits, kept, strict=True)])
        deltas = torch.cat([one[k] for one, k in zip(outputs.deltas, kept, strict=True)])
        boxes = [anchors[k] for k in kept]
        return self.postprocess(RoIOutputs(logits, deltas[:, None]), boxes, batch)

    def _best(self, logits: Tensor, allowed: Tensor) -> list[Tensor]:
        """The anchors of each picture that are surest of some class: N tensors [<= candidates]."""
        scores = logits.float().softmax(dim=2)[..., 1:].amax(dim=2)  # [N, K]
        scores = scores.masked_fill(~allowed, -1)
        counts = allowed.sum(dim=1).clamp(max=self.candidates).tolist()
        return [one.topk(count).indices for one, count in zip(scores, counts, strict=True)]

    def class_rows(self) -> dict[str, Tensor]:
        """The rows of the classifier that belong to one class: layer -> [C+1, anchors] int64."""
        rows = torch.arange(self.proposer.scores.out_channels, device="cpu")
        return {"proposer.scores": rows.view(-1, self.proposer.anchors)}
