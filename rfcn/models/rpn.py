"""Region proposal network (Faster R-CNN, section 3.1), on conv4 (paper, section 2).

Legend: N pictures, A anchors a cell, K = H * W * A anchors of a picture, P proposals.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.boxes import clip, decode, encode
from rfcn.models.anchors import AnchorGrid
from rfcn.models.initialization import Initializer, gaussian
from rfcn.models.losses import rpn_loss
from rfcn.models.matching import match_anchors
from rfcn.models.sampling import ANCHOR_STREAM, generator_for, sample_anchors
from rfcn.ops.nms import nms
from rfcn.structures import Features, ImageBatch, Target


class RPNOutputs(NamedTuple):
    """Raw numbers for every anchor, in the order of `AnchorGrid`."""

    logits: Tensor
    """[N, K, scores]: background, object; or background and every class."""
    deltas: Tensor
    """[N, K, 4]"""


class RPNHead(nn.Module):
    """3x3 convolution, then two 1x1: object or not (2A channels), offsets (4A channels).

    The first A channels of the former are background, the last A object, as in the released
    weights.

    Args:
        in_channels: channels of conv4. channels: width of the 3x3 convolution. anchors: A, a cell.
        scores: scores an anchor: 2, or C+1 to tell classes apart.
        hidden_init: how the 3x3 convolution starts.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        anchors: int,
        *,
        scores: int = 2,
        hidden_init: Initializer = gaussian,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.scores = nn.Conv2d(channels, scores * anchors, 1)
        self.deltas = nn.Conv2d(channels, 4 * anchors, 1)
        hidden_init(self.conv)
        gaussian(self.scores)
        gaussian(self.deltas)

    def forward(self, features: Tensor) -> RPNOutputs:
        """features: [N, Cr, H, W] -> scores and offsets of all H * W * A anchors."""
        x = F.relu(self.conv(features))
        n, _, h, w = x.shape
        logits = self.scores(x).view(n, -1, self.anchors, h, w).permute(0, 3, 4, 2, 1)
        deltas = self.deltas(x).view(n, self.anchors, 4, h, w).permute(0, 3, 4, 1, 2)
        logits = logits.reshape(n, h * w * self.anchors, -1)
        deltas = deltas.reshape(n, -1, 4)
        return RPNOutputs(logits, deltas)


class AnchorLoss:
    """Assignment, sampling and loss of the RPN, picture by picture, averaged.

    Args: see `rfcn.config.schema.RPN`.
    """

    def __init__(
        self,
        *,
        positive_iou: float = 0.7,
        negative_iou: float = 0.3,
        batch: int = 256,
        positive_fraction: float = 0.5,
        sigma: float = 3,
    ) -> None:
        self.positive_iou = positive_iou
        self.negative_iou = negative_iou
        self.batch = batch
        self.positive_fraction = positive_fraction
        self.sigma = sigma

    def __call__(
        self, outputs: RPNOutputs, anchors: Tensor, batch: ImageBatch, targets: list[Target]
    ) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_box`, scalars. anchors: [K, 4]."""
        per_picture = [
            self._one(logits, deltas, anchors, size, target)
            for logits, deltas, size, target in zip(*outputs, batch.sizes, targets, strict=True)
        ]
        classification, boxes = zip(*per_picture, strict=True)
        return {
            "loss_rpn_cls": torch.stack(classification).mean(),
            "loss_rpn_box": torch.stack(boxes).mean(),
        }

    def _one(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        size: tuple[int, int],
        target: Target,
    ) -> tuple[Tensor, Tensor]:
        labels, matched = match_anchors(
            anchors,
            target.boxes,
            size,
            positive_iou=self.positive_iou,
            negative_iou=self.negative_iou,
        )
        labels = sample_anchors(
            labels,
            batch=self.batch,
            positive_fraction=self.positive_fraction,
            generator=generator_for(target, ANCHOR_STREAM),
        )
        positive = labels == 1
        box_targets = torch.zeros_like(anchors)
        box_targets[positive] = encode(target.boxes[matched[positive]], anchors[positive])
        labels[positive] = self.meaning(target.labels[matched[positive]])
        return rpn_loss(logits, deltas, labels, box_targets, sigma=self.sigma)

    def meaning(self, labels: Tensor) -> Tensor:
        """What a positive anchor should say of the object it stands for, given its class [M]."""
        return torch.ones_like(labels)


class ProposalSelector:
    """From scored anchors to proposals: decode, clip, drop the small, best first, NMS, best N.

    Args:
        min_size: shortest side in pixels of the original picture; empty boxes are always dropped.
        candidates: best boxes that enter the NMS.
        nms_threshold: IoU above which the weaker of two is dropped.
    """

    def __init__(
        self, *, min_size: float = 0, candidates: int = 6000, nms_threshold: float = 0.7
    ) -> None:
        self.min_size = min_size
        self.candidates = candidates
        self.nms_threshold = nms_threshold

    def __call__(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, batch: ImageBatch, count: int
    ) -> list[Tensor]:
        """scores: [N, K], -inf where there is no picture. deltas: [N, K, 4]. anchors: [K, 4].

        Returns N tensors [P_i, 4], P_i <= count, best first.
        """
        boxes = decode(deltas, anchors)
        return [
            self._one(*one, count)
            for one in zip(scores, boxes, batch.sizes, batch.original_sizes, strict=True)
        ]

    def _one(
        self,
        scores: Tensor,
        boxes: Tensor,
        size: tuple[int, int],
        original_size: tuple[int, int],
        count: int,
    ) -> Tensor:
        boxes = clip(boxes, size)
        shortest = self.min_size * size[0] / original_size[0]
        sides = boxes[:, 2:] - boxes[:, :2]
        allowed = (sides > 0).all(1) & (sides >= shortest).all(1) & scores.isfinite()
        boxes, scores = boxes[allowed], scores[allowed]
        scores, best = scores.topk(min(self.candidates, scores.shape[0]))
        boxes = boxes[best]
        return boxes[nms(boxes, scores, self.nms_threshold, limit=count)]


class RegionProposalNetwork(nn.Module):
    """Proposals for a second stage, and the loss that teaches it to propose.

    Args:
        head: features -> `RPNOutputs`. anchors: the grid it scores.
        loss: what it is trained with. select: how proposals are made.
        train_proposals, test_proposals: proposals a picture with and without targets.
    """

    def __init__(
        self,
        *,
        head: RPNHead,
        anchors: AnchorGrid,
        loss: AnchorLoss,
        select: ProposalSelector,
        train_proposals: int = 300,
        test_proposals: int = 300,
    ) -> None:
        super().__init__()
        self.head = head
        self.anchors = anchors
        self.loss = loss
        self.select = select
        self.train_proposals = train_proposals
        self.test_proposals = test_proposals

    def forward(
        self, batch: ImageBatch, features: Features, targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """N tensors [P_i, 4] of proposals in pixels of the resized picture, without gradient
        (approximate joint training), and the losses: none without targets."""
        outputs = self.head(features.rpn)
        count = self.test_proposals if targets is None else self.train_proposals
        proposals = self._best(outputs, batch, features.rpn, count)
        losses = {} if targets is None else self._losses(outputs, batch, features.rpn, targets)
        return proposals, losses

    def propose(self, batch: ImageBatch, maps: Tensor) -> list[Tensor]:
        """The proposals of a training step, of a network that does not learn in it.

        maps: [N, Cr, H, W], conv4.
        """
        return self._best(self.head(maps), batch, maps, self.train_proposals)

    def losses(self, batch: ImageBatch, maps: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """The losses of a training step that needs no proposals. maps: [N, Cr, H, W], conv4."""
        return self._losses(self.head(maps), batch, maps, targets)

    def _best(
        self, outputs: RPNOutputs, batch: ImageBatch, maps: Tensor, count: int
    ) -> list[Tensor]:
        height, width = maps.shape[-2:]
        scores = (outputs.logits[..., 1] - outputs.logits[..., 0]).detach().float()
        in_pictures = self.anchors.in_pictures(batch.sizes, height, width)
        scores = scores.masked_fill(~in_pictures, -torch.inf)
        anchors = self.anchors(height, width)
        return self.select(scores, outputs.deltas.detach().float(), anchors, batch, count)

    def _losses(
        self, outputs: RPNOutputs, batch: ImageBatch, maps: Tensor, targets: list[Target]
    ) -> dict[str, Tensor]:
        return self.loss(outputs, self.anchors(*maps.shape[-2:]), batch, targets)
