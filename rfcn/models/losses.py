"""The losses: each reads raw outputs and targets, and nothing else of the model.

Every loss is computed picture by picture and averaged over the pictures, so that a batch of two
equals two batches of one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from rfcn.models.matching import IGNORED
from rfcn.structures import RoIOutputs, RoISample


def smooth_l1(difference: Tensor, sigma: float) -> Tensor:
    """0.5 (sigma x)^2 where |x| < 1/sigma^2, |x| - 0.5/sigma^2 elsewhere (Fast R-CNN, eq. 3)."""
    size = difference.abs()
    edge = 1 / sigma**2
    return torch.where(size < edge, 0.5 * (sigma * size) ** 2, size - 0.5 * edge)


def rpn_loss(
    logits: Tensor, deltas: Tensor, labels: Tensor, box_targets: Tensor, *, sigma: float
) -> tuple[Tensor, Tensor]:
    """Loss of the RPN on one picture (Faster R-CNN, section 3.1.2; weights as in py-R-FCN).

    Args:
        logits: [K, 2], background and object, or [K, C+1]. deltas, box_targets: [K, 4].
        labels: [K] in {1 (or the class), 0, IGNORED}. sigma: where smooth L1 turns linear.

    Returns:
        mean cross entropy over the sampled anchors; smooth L1 of the positives, summed and
        divided by the number of sampled anchors.
    """
    sampled = labels != IGNORED
    positive = labels > 0
    count = sampled.sum().clamp(min=1)
    classification = F.cross_entropy(logits[sampled], labels[sampled], reduction="sum")
    boxes = smooth_l1(deltas[positive] - box_targets[positive], sigma).sum()
    return classification / count, boxes / count


class PerRoI(NamedTuple):
    """Loss of every RoI of a picture: [R_i] each."""

    classification: Tensor
    boxes: Tensor
    foreground: Tensor
    """bool"""


class RoILoss(Protocol):
    """What turns the head's raw outputs into scalars."""

    def __call__(self, outputs: RoIOutputs, sample: RoISample) -> dict[str, Tensor]:
        """`loss_cls` and `loss_box`, scalars."""
        ...


class MeanLoss:
    """L = L_cls + lambda [c* > 0] L_reg, averaged over all RoIs of the sample (paper, section 2).

    Args:
        box_weight: lambda.
    """

    figures: dict[str, Tensor]
    """What is worth a log of the last call: scalars without gradient, on the device."""

    def __init__(self, *, box_weight: float = 1) -> None:
        self.box_weight = box_weight
        self.figures = {}

    def __call__(self, outputs: RoIOutputs, sample: RoISample) -> dict[str, Tensor]:
        """See `RoILoss`. A picture without RoIs adds zero."""
        offered = self._per_picture(outputs, sample)
        kept = [self.keep(losses) for losses in offered]
        self.figures = self.look_at(offered, kept)
        count = len(kept)
        return {
            "loss_cls": sum_of_means([one.classification for one in kept]) / count,
            "loss_box": sum_of_means([one.boxes for one in kept]) / count,
        }

    def keep(self, losses: PerRoI) -> PerRoI:
        """The RoIs of a picture that count: here all of them."""
        return losses

    def look_at(self, offered: list[PerRoI], kept: list[PerRoI]) -> dict[str, Tensor]:
        """The `figures` of the RoIs of each picture and of those that count: here none."""
        return {}

    def _per_picture(self, outputs: RoIOutputs, sample: RoISample) -> list[PerRoI]:
        labels = torch.cat(sample.labels)
        targets = torch.cat(sample.box_targets)
        classification = F.cross_entropy(outputs.class_logits, labels, reduction="none")
        deltas = select_box_set(outputs.box_deltas, labels)
        boxes = smooth_l1(deltas - targets, sigma=1).sum(dim=1) * (labels > 0)
        counts = [one.shape[0] for one in sample.labels]
        columns = (classification, self.box_weight * boxes, labels > 0)
        return [PerRoI(*one) for one in zip(*(c.split(counts) for c in columns), strict=True)]


class OnlineHardExampleLoss(MeanLoss):
    """OHEM: of all RoIs of a picture only those of highest loss count (paper, section 2).

    RoIs are ranked by class + box loss; the mean is over those kept, and no gradient reaches the
    others.

    Args:
        kept: B, RoIs kept a picture. box_weight: lambda.
    """

    def __init__(self, *, kept: int = 128, box_weight: float = 1) -> None:
        super().__init__(box_weight=box_weight)
        self.kept = kept

    def keep(self, losses: PerRoI) -> PerRoI:
        """The `kept` RoIs of highest summed loss; all of them where there are fewer."""
        hardest = self._hardest(losses)
        return PerRoI(*(column[hardest] for column in losses))

    def look_at(self, offered: list[PerRoI], kept: list[PerRoI]) -> dict[str, Tensor]:
        """Whether the choice means anything: `fg_rois_kept`, the foreground among the RoIs kept,
        and `bg_loss_spread`, by what part of the highest loss those of the background differ: 0
        where the head says the same of all of them. Means over the pictures."""
        return {
            "fg_rois_kept": foreground_per_image([one.foreground for one in kept]),
            "bg_loss_spread": torch.stack([_background_spread(one) for one in offered]).mean(),
        }

    def hardest(self, outputs: RoIOutputs, sample: RoISample) -> list[Tensor]:
        """The places of those RoIs among all of their picture: N tensors [<= kept]."""
        return [self._hardest(losses) for losses in self._per_picture(outputs, sample)]

    def _hardest(self, losses: PerRoI) -> Tensor:
        total = (losses.classification + losses.boxes).detach()
        return total.topk(min(self.kept, total.shape[0])).indices


def _background_spread(losses: PerRoI) -> Tensor:
    """(highest - lowest) / highest; 1 where nothing is lost. No RoI is picked out: that would wait
    for the device."""
    values = losses.classification.detach()
    if not values.numel():
        return values.new_ones(())
    highest = values.masked_fill(losses.foreground, 0).max()
    lowest = torch.minimum(values.masked_fill(losses.foreground, math.inf).min(), highest)
    return torch.where(highest > 0, 1 - lowest / highest, 1)


def foreground_per_image(labels: Sequence[Tensor]) -> Tensor:
    """Mean number of foreground RoIs: labels [R_i] of each picture -> scalar, on their device."""
    counts = [(one > 0).sum() for one in labels]
    return torch.stack(counts).float().mean() if counts else torch.zeros(())


def select_box_set(box_deltas: Tensor, labels: Tensor) -> Tensor:
    """The offsets that belong to each RoI's class: [R, S, 4], [R] -> [R, 4].

    With S = C+1 sets the label picks one; with two, background or foreground; with one, the only.
    """
    sets = labels.clamp(max=box_deltas.shape[1] - 1)
    return box_deltas[torch.arange(labels.shape[0], device=labels.device), sets]


def sum_of_means(losses: list[Tensor]) -> Tensor:
    """Sum over pictures of each one's mean loss; an empty picture counts zero, not NaN."""
    return torch.stack([one.sum() / max(one.shape[0], 1) for one in losses]).sum()
