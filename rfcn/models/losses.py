"""The losses: each reads raw outputs and targets, and nothing else of the model.

Every loss is computed picture by picture and averaged over the pictures, so that a batch of two
equals two batches of one.
"""

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

    def __init__(self, *, box_weight: float = 1) -> None:
        self.box_weight = box_weight

    def __call__(self, outputs: RoIOutputs, sample: RoISample) -> dict[str, Tensor]:
        """See `RoILoss`. A picture without RoIs adds zero."""
        kept = [self.keep(losses) for losses in self._per_picture(outputs, sample)]
        count = len(kept)
        return {
            "loss_cls": sum_of_means([one.classification for one in kept]) / count,
            "loss_box": sum_of_means([one.boxes for one in kept]) / count,
        }

    def keep(self, losses: PerRoI) -> PerRoI:
        """The RoIs of a picture that count: here all of them."""
        return losses

    def _per_picture(self, outputs: RoIOutputs, sample: RoISample) -> list[PerRoI]:
        labels = torch.cat(sample.labels)
        targets = torch.cat(sample.box_targets)
        classification = F.cross_entropy(outputs.class_logits, labels, reduction="none")
        deltas = select_box_set(outputs.box_deltas, labels)
        boxes = smooth_l1(deltas - targets, sigma=1).sum(dim=1) * (labels > 0)
        counts = [one.shape[0] for one in sample.labels]
        return [
            PerRoI(*pair)
            for pair in zip(
                classification.split(counts), (self.box_weight * boxes).split(counts), strict=True
            )
        ]


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
        return PerRoI(losses.classification[hardest], losses.boxes[hardest])

    def hardest(self, outputs: RoIOutputs, sample: RoISample) -> list[Tensor]:
        """The places of those RoIs among all of their picture: N tensors [<= kept]."""
        return [self._hardest(losses) for losses in self._per_picture(outputs, sample)]

    def _hardest(self, losses: PerRoI) -> Tensor:
        total = (losses.classification + losses.boxes).detach()
        return total.topk(min(self.kept, total.shape[0])).indices


def select_box_set(box_deltas: Tensor, labels: Tensor) -> Tensor:
    """The offsets that belong to each RoI's class: [R, S, 4], [R] -> [R, 4].

    With S = C+1 sets the label picks one; with two, background or foreground; with one, the only.
    """
    sets = labels.clamp(max=box_deltas.shape[1] - 1)
    return box_deltas[torch.arange(labels.shape[0], device=labels.device), sets]


def sum_of_means(losses: list[Tensor]) -> Tensor:
    """Sum over pictures of each one's mean loss; an empty picture counts zero, not NaN."""
    return torch.stack([one.sum() / max(one.shape[0], 1) for one in losses]).sum()
