"""From config to backbone: what is split off, which weights are looked for, what is said."""

import logging

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import nn

from rfcn.config import schema
from rfcn.errors import ConfigError, WeightsError
from rfcn.models.resnet import ResNet
from rfcn.models.vgg import VGG16
from rfcn.parts.backbones import build_backbone

SMALL = (
    schema.ResNetBackbone(depth=18, weights="none"),
    schema.TinyBackbone(type="tiny", width=8),
)


def on_meta(config, features="conv5"):
    """A backbone without memory, and its tail."""
    with torch.device("meta"):
        return build_backbone(config, features, pretrained=False)


@pytest.mark.parametrize("config", SMALL, ids=lambda one: one.type)
@pytest.mark.parametrize(
    ("features", "stride", "split"),
    [
        ("conv5", 16, False),
        ("conv5_deformable", 16, False),
        ("conv5_stride_32", 32, False),
        ("conv4", 16, True),
    ],
)
def test_heads_read_what_they_ask_for(config, features, stride, split):
    backbone, tail = build_backbone(config, features, pretrained=False)
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert maps.rpn.shape == (1, backbone.rpn_channels, 4, 6)
    assert backbone.roi_stride == stride
    assert maps.roi.shape == (1, backbone.roi_channels, 64 // stride, 96 // stride)
    assert (tail is not None) == split
    assert torch.equal(maps.rpn, maps.roi) == split


@pytest.mark.parametrize(("features", "stride"), [("conv2", 4), ("conv3", 8)])
def test_heads_read_a_shallow_stage_of_the_tiny_backbone_alone(features, stride):
    backbone, tail = build_backbone(SMALL[1], features, pretrained=False)
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert maps.rpn.shape == (1, backbone.rpn_channels, 4, 6)
    assert maps.roi.shape == (1, backbone.roi_channels, 64 // stride, 96 // stride)
    assert tail is None
    assert not any("conv5" in name for name in backbone.state_dict())
    with pytest.raises(ValidationError, match=f"cannot read {features}: a resnet backbone has"):
        schema.Model(backbone=SMALL[0], roi_head=schema.RFCN(features=features))


@pytest.mark.parametrize("config", SMALL, ids=lambda one: one.type)
def test_the_tail_is_conv5_on_a_pooled_roi(config):
    backbone, tail = build_backbone(config, "conv4", pretrained=False)
    pooled = torch.randn(3, backbone.roi_channels, 14, 14)
    assert tail.body(pooled).shape == (3, tail.channels)
    assert tail.body[0](pooled).shape[-2:] == (7, 7)
    assert not any("layer4" in name or "conv5" in name for name in backbone.state_dict())


def test_vgg_is_always_split():
    backbone, tail = on_meta(schema.VGG16Backbone(type="vgg16"))
    assert isinstance(backbone, VGG16)
    assert tail.channels == 4096
    assert {name.split(".")[0] for name in backbone.state_dict()} == {"features"}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A file that ends after conv4."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "trunk.pth"
    torch.save({n: v for n, v in state.items() if not n.startswith(("layer4", "fc"))}, path)
    return path


def resnet18(**settings):
    return build_backbone(schema.ResNetBackbone(depth=18, **settings), pretrained=True)[0]


def test_weights_are_loaded(trunk):
    backbone = resnet18(weights=str(trunk), conv5_norm="group")
    stored = torch.load(trunk, weights_only=True)["conv1.weight"]
    assert torch.equal(backbone.conv1.weight, stored)


def test_no_weights_are_looked_for_when_a_detector_is_loaded():
    config = schema.ResNetBackbone(depth=18, weights="nowhere.pth")
    build_backbone(config, pretrained=False)
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        build_backbone(config, pretrained=True)


def test_an_untrained_conv5_behind_frozen_norms_is_said(trunk, caplog):
    with caplog.at_level(logging.WARNING, logger="rfcn"):
        resnet18(weights=str(trunk), conv5_norm="group")
        assert caplog.messages == []
        resnet18(weights=str(trunk))
    [message] = caplog.messages
    assert "conv5" in message
    assert "conv5_norm" in message


def test_frozen_random_stages_are_said(caplog):
    with caplog.at_level(logging.WARNING, logger="rfcn"):
        resnet18(weights="none", frozen_stages=0, conv5_norm="group")
        assert caplog.messages == []
        resnet18(weights="none", frozen_stages=2)
    [message] = caplog.messages
    assert "conv1, conv2" in message


def test_a_file_without_a_frozen_stage_is_refused(trunk, tmp_path):
    state = torch.load(trunk, weights_only=True)
    path = tmp_path / "conv1.pth"
    torch.save({n: v for n, v in state.items() if n.startswith(("conv1", "bn1"))}, path)
    with pytest.raises(ConfigError, match=r"conv2.*frozen_stages: 2"):
        resnet18(weights=str(path))
    resnet18(weights=str(path), frozen_stages=1)


def test_what_is_split_off_has_its_weights(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "whole.pth"
    torch.save(state, path)
    config = schema.ResNetBackbone(depth=18, weights=str(path))
    backbone, tail = build_backbone(config, "conv4", pretrained=True)
    assert isinstance(backbone, ResNet)
    assert isinstance(backbone.layer4, nn.Identity)
    layer = tail.body[0][1].conv2
    assert torch.equal(layer.weight, state["layer4.1.conv2.weight"])


def test_a_deformable_conv5_starts_from_the_plain_weights(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "whole.pth"
    torch.save(state, path)
    config = schema.ResNetBackbone(depth=18, weights=str(path))
    deformable, _ = build_backbone(config, "conv5_deformable", pretrained=True)
    plain, _ = build_backbone(config, "conv5", pretrained=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(deformable(images).roi, plain(images).roi)
