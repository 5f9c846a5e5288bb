"""Folded batch norm: the same maps, fewer passes."""

import pytest
import torch
from torch import nn

from rfcn.models.folding import folded
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.models.resnet import ResNet


def with_lively_norms(model):
    """Statistics as training leaves them, none of them neutral."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm | nn.BatchNorm2d):
            for name, low in (("weight", 0.5), ("running_var", 0.5), ("bias", -0.2)):
                values = getattr(module, name).data
                values.copy_(low + torch.rand(values.shape, generator=generator) * 0.4)
            module.running_mean.copy_(torch.rand(values.shape, generator=generator) * 0.2)
    return model.eval()


_BACKBONES = [(18, {}), (50, {}), (18, {"conv5_norm": "batch"}), (18, {"conv5": "deformable"})]


def norms(model):
    return [m for m in model.modules() if isinstance(m, FrozenBatchNorm | nn.BatchNorm2d)]


@pytest.mark.parametrize(("depth", "options"), _BACKBONES)
def test_a_folded_backbone_gives_the_same_maps(depth, options):
    torch.manual_seed(0)
    backbone = with_lively_norms(ResNet(depth, **options)).double()
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    fast = folded(backbone)
    assert not norms(fast)
    with torch.no_grad():
        expected, found = backbone(images), fast(images)
    for one, other in zip((expected.rpn, expected.roi), (found.rpn, found.roi), strict=True):
        assert one.abs().max() > 0.01
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def test_the_model_that_is_folded_stays_as_it_is():
    backbone = with_lively_norms(ResNet(18)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fast = folded(backbone)
    assert backbone.training
    assert not fast.training
    assert all(one.requires_grad for one in backbone.layer4.parameters())
    assert before.keys() == backbone.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_what_is_not_folded_is_shared():
    backbone = ResNet(18, conv5_norm="group")
    fast = folded(backbone)
    assert fast.layer4[0].conv1.weight is backbone.layer4[0].conv1.weight
    assert fast.layer3[0].conv1.weight is not backbone.layer3[0].conv1.weight


def test_norms_over_the_pictures_own_statistics_stay():
    fast = folded(ResNet(18, conv5_norm="group"))
    assert any(isinstance(module, nn.GroupNorm) for module in fast.layer4.modules())
    assert not norms(fast)
