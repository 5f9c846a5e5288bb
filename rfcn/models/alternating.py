"""RPN and head trained in turn (Faster R-CNN, section 3.2): who learns, what the loss is, and
where proposals come from.

A detector has three parts: `shared`, the convolutions that proposals and heads both read (conv1 to
conv4; all of VGG-16's); `rpn`; and `head`, which begins with conv5 where the head reads it.
"""

from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rfcn.models.detector import TwoStageDetector
from rfcn.models.rpn import RegionProposalNetwork
from rfcn.structures import ImageBatch, Target

Part = Literal["shared", "rpn", "head"]


def parts_of(detector: TwoStageDetector) -> dict[Part, list[nn.Module]]:
    """The modules of each part; together they hold every parameter of the detector."""
    above: Any = detector.backbone.above_trunk
    trunk = [module for module in detector.backbone.children() if module is not above]
    return {
        "shared": [detector.normalize, *trunk],
        "rpn": [detector.proposer],
        "head": [above, detector.roi_head],
    }


class PartTraining(nn.Module):
    """What the training loop is given in the place of a detector: some parts learn, the others stay
    as they are, to the last bit.

    The parameters of the others get no gradient, and their modules stay in evaluation mode, so that
    no running statistics move either.

    Args:
        detector: those of its parameters require a gradient, from now on, that belong to `learns`.
        learns: the parts that learn. trainable: the parameters that may be trained at all.
    """

    def __init__(
        self,
        detector: TwoStageDetector,
        learns: Collection[Part],
        trainable: Collection[nn.Parameter],
    ) -> None:
        super().__init__()
        self.detector = detector
        parts = parts_of(detector)
        self.still = [module for part in parts if part not in learns for module in parts[part]]
        frozen = {id(one) for module in self.still for one in module.parameters()}
        for parameter in trainable:
            parameter.requires_grad_(id(parameter) not in frozen)
        detector.zero_grad(set_to_none=True)  # what an earlier stage left would join the norm

    def train(self, mode: bool = True) -> "PartTraining":
        """Training mode for what learns; see the class."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self


class RPNTraining(PartTraining):
    """The RPN without a head. Args: see `PartTraining`."""

    def forward(self, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_box`, scalars."""
        return _rpn(self.detector).losses(batch, _conv4(self.detector, batch), targets)


class HeadTraining(PartTraining):
    """The head, on proposals of an RPN that does not learn.

    Args:
        earlier: proposes; nothing: the detector's own RPN. Others: see `PartTraining`.
    """

    def __init__(
        self,
        detector: TwoStageDetector,
        learns: Collection[Part],
        trainable: Collection[nn.Parameter],
        earlier: "FrozenRPN | None" = None,
    ) -> None:
        super().__init__(detector, learns, trainable)
        self.earlier = earlier
        self.still += [] if earlier is None else [earlier]

    @property
    def figures(self) -> dict[str, Tensor]:
        """Those of the detector."""
        return self.detector.figures

    def forward(self, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]:
        """`loss_cls` and `loss_box`, scalars."""
        features = self.detector.features(batch)
        with torch.no_grad():
            if self.earlier is None:
                proposals = _rpn(self.detector).propose(batch, features.rpn)
            else:
                proposals = self.earlier(batch)
        return self.detector.head_losses(batch, features, proposals, targets)


class FrozenRPN(nn.Module):
    """The RPN of an earlier stage on the convolutions it was trained with: it proposes, and learns
    nothing.

    Args:
        detector: that of the end of the stage, by itself: it shares nothing with one that learns.
    """

    def __init__(self, detector: TwoStageDetector) -> None:
        super().__init__()
        self.detector = detector
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, batch: ImageBatch) -> list[Tensor]:
        """N tensors [P_i, 4] in pixels of the resized picture, best first."""
        return _rpn(self.detector).propose(batch, _conv4(self.detector, batch))


def _rpn(detector: TwoStageDetector) -> RegionProposalNetwork:
    rpn = detector.proposer
    assert isinstance(rpn, RegionProposalNetwork), "the schema alternates no other proposer"
    return rpn


def _conv4(detector: TwoStageDetector, batch: ImageBatch) -> Tensor:
    backbone: Any = detector.backbone
    conv4: Tensor = backbone.trunk(detector.normalize(batch))
    return conv4
