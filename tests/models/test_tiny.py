import pytest
import torch
from torch import nn

from rfcn.errors import ConfigError
from rfcn.models.deformable import DeformableConv2d
from rfcn.models.tiny import ResidualBlock, TinyBackbone


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("size", [(96, 160), (97, 131), (1, 1)])
def test_both_maps_have_the_stride(stride, size):
    backbone = TinyBackbone(8, stride=stride)
    features = backbone(torch.randn(2, 3, *size))
    cells = tuple(-(-side // stride) for side in size)
    assert backbone.stride == stride
    assert features.rpn.shape == (2, backbone.rpn_channels, *cells) == (2, 32, *cells)
    assert features.roi.shape == (2, backbone.roi_channels, *cells) == (2, 32, *cells)


def test_conv5_is_dilated_and_all_the_rest_is_not():
    for name, layer in TinyBackbone(8).named_modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            assert layer.dilation == ((2, 2) if name.startswith("conv5") else (1, 1))


@pytest.mark.parametrize(("norm", "expected"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
def test_every_norm_is_of_the_kind_asked_for(norm, expected):
    layers = list(TinyBackbone(8, norm=norm).modules())
    norms = [layer for layer in layers if isinstance(layer, nn.GroupNorm | nn.BatchNorm2d)]
    assert norms
    assert all(type(layer) is expected for layer in norms)


def test_every_parameter_learns():
    backbone = TinyBackbone(8)
    backbone(torch.randn(1, 3, 64, 64)).roi.square().sum().backward()
    assert all(one.grad is not None and one.grad.any() for one in backbone.parameters())


def test_group_norm_makes_no_difference_between_one_picture_and_many():
    backbone = TinyBackbone(8)
    images = torch.randn(3, 3, 64, 64)
    together = backbone(images).roi
    alone = backbone(images[1:2]).roi
    torch.testing.assert_close(together[1:2], alone)


def test_a_block_that_changes_nothing_has_a_free_shortcut():
    assert len(ResidualBlock(8, 8).shortcut) == 0
    assert len(ResidualBlock(8, 16).shortcut) == 2
    assert len(ResidualBlock(8, 8, stride=2).shortcut) == 2


@pytest.mark.parametrize(
    ("conv5", "stride"), [("a_trous", 8), ("deformable", 8), ("stride_32", 16)]
)
def test_what_conv5_is(conv5, stride):
    backbone = TinyBackbone(8, stride=8, conv5=conv5)
    features = backbone(torch.randn(1, 3, 96, 160))
    assert features.rpn.shape[-2:] == (12, 20)
    assert backbone.roi_stride == stride
    assert features.roi.shape[-2:] == (96 // stride, 160 // stride)
    assert isinstance(backbone.conv5.conv2, DeformableConv2d) == (conv5 == "deformable")


def test_conv5_can_be_split_off():
    backbone = TinyBackbone(8, stride=8, conv5="stride_32")
    whole = backbone(torch.ones(1, 3, 64, 64))
    tail = backbone.split_off_tail()
    rest = backbone(torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(rest.roi, whole.rpn)
    torch.testing.assert_close(tail.body(rest.roi), whole.roi.mean((2, 3)))
    assert (backbone.roi_stride, tail.channels) == (8, 32)


def test_the_trunk_ends_where_proposals_read():
    network = TinyBackbone(8)
    images = torch.randn(1, 3, 64, 64)
    features = network(images)
    assert torch.equal(network.trunk(images), features.rpn)
    assert torch.equal(network.above_trunk(features.rpn), features.roi)
    network.let_heads_read("conv3")
    with pytest.raises(ConfigError, match="heads read conv3"):
        network.above_trunk  # noqa: B018


@pytest.mark.parametrize(
    ("stage", "stride", "seen"), [("conv2", 4, 15), ("conv3", 8, 39), ("conv4", 8, 71)]
)
def test_a_shallow_stage_sees_little(stage, stride, seen):
    """The gradient of one cell reaches as many pixels as the docstring says. The norms are left
    out: their statistics are of the whole picture."""
    backbone = TinyBackbone(8, stride=8)
    backbone.let_heads_read(stage)
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, nn.Identity())
    picture = torch.randn(1, 3, 128, 128, requires_grad=True)
    features = backbone(picture)
    assert backbone.roi_stride == stride
    assert features.roi.shape == (1, backbone.roi_channels, 128 // stride, 128 // stride)
    middle = 64 // stride
    features.roi[0, :, middle, middle].square().sum().backward()
    rows = picture.grad[0].abs().sum(0).sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == seen
