"""Sampling: which anchors and which RoIs a training step looks at.

Random choices depend on `Target.seed` alone: neither the batch a picture falls into nor the rank
that holds it can change them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfcn.boxes import encode
from rfcn.models.matching import IGNORED, match_rois
from rfcn.structures import RoISample, Target

ANCHOR_STREAM, ROI_STREAM = 0, 1
"""Each kind of choice draws from a stream of its own."""


def generator_for(target: Target, stream: int) -> torch.Generator:
    """The CPU generator behind one kind of random choice for one picture."""
    return torch.Generator().manual_seed(2 * target.seed + stream)


def pick(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the candidates [M], without replacement, each equally likely."""
    if candidates.shape[0] <= count:
        return candidates
    order = torch.randperm(candidates.shape[0], generator=generator)[:count]
    return candidates[order.to(candidates.device)]


def sample_anchors(
    labels: Tensor, *, batch: int, positive_fraction: float, generator: torch.Generator
) -> Tensor:
    """Labels [K] with all but `batch` anchors set to IGNORED (Faster R-CNN, section 3.1.3).

    At most `positive_fraction` of the batch are positives; negatives fill the rest.
    """
    positives = pick((labels == 1).nonzero()[:, 0], int(batch * positive_fraction), generator)
    negatives = pick((labels == 0).nonzero()[:, 0], batch - positives.shape[0], generator)
    sampled = torch.full_like(labels, IGNORED)
    sampled[positives] = 1
    sampled[negatives] = 0
    return sampled


class AllRoIs:
    """Every proposal, and every ground-truth box, is a RoI: what OHEM chooses from.

    Args:
        foreground_iou: a RoI is foreground from this IoU on, background below.
        box_std: divides the box targets.
    """

    def __init__(self, *, foreground_iou: float, box_std: Sequence[float]) -> None:
        self.foreground_iou = foreground_iou
        self.box_std = tuple(box_std)

    def __call__(self, proposals: Sequence[Tensor], targets: Sequence[Target]) -> RoISample:
        """proposals: N tensors [P_i, 4]; targets: N -> the RoIs with their labels and targets."""
        per_picture = [self._one(*pair) for pair in zip(proposals, targets, strict=True)]
        boxes, labels, box_targets = zip(*per_picture, strict=True)
        return RoISample(list(boxes), list(labels), list(box_targets))

    def _one(self, proposals: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        rois = torch.cat([proposals, target.boxes])  # ground truth joins the proposals
        overlap, matched, labels = match_rois(rois, target.boxes, target.labels)
        chosen = self.choose(overlap, target)
        rois, matched = rois[chosen], matched[chosen]
        foreground = overlap[chosen] >= self.foreground_iou
        box_targets = torch.zeros_like(rois)
        box_targets[foreground] = encode(
            target.boxes[matched[foreground]], rois[foreground], self.box_std
        )
        return rois, torch.where(foreground, labels[chosen], 0), box_targets

    def choose(self, overlap: Tensor, target: Target) -> Tensor:
        """Indices [R_i] of the RoIs to keep, given each one's best IoU [P_i + G_i]."""
        return torch.arange(overlap.shape[0], device=overlap.device)


class RandomRoIs(AllRoIs):
    """A fixed number of RoIs with a fixed share of foreground (Fast R-CNN, section 2.3).

    Args:
        rois: RoIs a picture. foreground_fraction: most foreground among them.
        foreground_iou: foreground from this IoU on.
        background_iou: background from this IoU on; RoIs below it are not looked at.
        box_std: divides the box targets.
    """

    def __init__(
        self,
        *,
        rois: int,
        foreground_fraction: float,
        foreground_iou: float,
        background_iou: float,
        box_std: Sequence[float],
    ) -> None:
        super().__init__(foreground_iou=foreground_iou, box_std=box_std)
        self.rois = rois
        self.foreground_fraction = foreground_fraction
        self.background_iou = background_iou

    def choose(self, overlap: Tensor, target: Target) -> Tensor:
        """See `AllRoIs.choose`; foreground comes first."""
        generator = generator_for(target, ROI_STREAM)
        is_foreground = overlap >= self.foreground_iou
        is_background = ~is_foreground & (overlap >= self.background_iou)
        most = round(self.rois * self.foreground_fraction)
        foreground = pick(is_foreground.nonzero()[:, 0], most, generator)
        background = pick(is_background.nonzero()[:, 0], self.rois - foreground.shape[0], generator)
        return torch.cat([foreground, background])
