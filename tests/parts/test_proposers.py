"""From config to what scores anchors."""

import torch

from rfcn.config import schema
from rfcn.models.class_specific_rpn import ClassAnchorLoss
from rfcn.models.initialization import gaussian
from rfcn.models.tiny import TinyBackbone
from rfcn.parts.proposers import build_anchor_loss, build_anchors, build_rpn

SECTION = schema.RPN(
    anchors=schema.Anchors(base_size=8, scales=(2,), ratios=(1,)), channels=5, batch=7, candidates=9
)


def test_the_rpn_reads_conv4_at_its_stride():
    rpn = build_rpn(SECTION, TinyBackbone(8, stride=8, conv5="stride_32"), gaussian)
    assert rpn.anchors.stride == 8
    assert (rpn.head.conv.in_channels, rpn.head.conv.out_channels) == (32, 5)
    assert (rpn.select.candidates, rpn.loss.batch) == (9, 7)


def test_anchors_have_the_stride_asked_for():
    anchors = build_anchors(SECTION, 32)
    assert anchors.stride == 32
    assert torch.equal(anchors.base, torch.tensor([[-4.0, -4, 12, 12]]))


def test_a_loss_is_of_the_kind_asked_for():
    assert type(build_anchor_loss(SECTION, ClassAnchorLoss)) is ClassAnchorLoss
    assert build_anchor_loss(SECTION, ClassAnchorLoss).batch == 7
