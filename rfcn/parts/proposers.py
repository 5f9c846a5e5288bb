"""From a proposer's section of the config to what scores anchors."""

from typing import TypeVar

from rfcn.config import parts
from rfcn.config.parts import RPN, AnchorHead
from rfcn.models.anchors import AnchorGrid
from rfcn.models.initialization import Initializer
from rfcn.models.proposals import GivenProposals
from rfcn.models.rpn import AnchorLoss, ProposalSelector, RegionProposalNetwork, RPNHead
from rfcn.parts.backbones import Backbone

Loss = TypeVar("Loss", bound=AnchorLoss)


def build_proposer(
    config: RPN | parts.GivenProposals, backbone: Backbone, hidden_init: Initializer
) -> RegionProposalNetwork | GivenProposals:
    """What proposes RoIs: an RPN, or the files that come with the pictures."""
    if isinstance(config, parts.GivenProposals):
        return GivenProposals(
            train_proposals=config.train_proposals, test_proposals=config.test_proposals
        )
    return build_rpn(config, backbone, hidden_init)


def build_rpn(config: RPN, backbone: Backbone, hidden_init: Initializer) -> RegionProposalNetwork:
    """The region proposal network of a config, on the backbone's conv4."""
    anchors = build_anchors(config, backbone.stride)
    return RegionProposalNetwork(
        head=RPNHead(backbone.rpn_channels, config.channels, len(anchors), hidden_init=hidden_init),
        anchors=anchors,
        loss=build_anchor_loss(config, AnchorLoss),
        select=ProposalSelector(
            min_size=config.min_size,
            candidates=config.candidates,
            nms_threshold=config.nms_threshold,
        ),
        train_proposals=config.train_proposals,
        test_proposals=config.test_proposals,
    )


def build_anchors(config: AnchorHead, stride: int) -> AnchorGrid:
    """The anchors of a config. stride: pixels a cell of the map they are scored on."""
    return AnchorGrid(
        base_size=config.anchors.base_size,
        scales=config.anchors.scales,
        ratios=config.anchors.ratios,
        stride=stride,
    )


def build_anchor_loss(config: AnchorHead, kind: type[Loss]) -> Loss:
    """The loss of a config, of this kind."""
    return kind(
        positive_iou=config.positive_iou,
        negative_iou=config.negative_iou,
        batch=config.batch,
        positive_fraction=config.positive_fraction,
        sigma=config.box_loss_sigma,
    )
