import copy

import pytest
import torch

from rfcn.build import build_detector
from rfcn.config import schema
from rfcn.engine.precision import Precision
from rfcn.errors import ConfigError
from rfcn.models.recompute import recompute_blocks
from rfcn.models.resnet import ResNet
from tests.models.test_autocast import BATCH, TARGET

C4 = {"roi_head": schema.C4FRCNN(type="c4_frcnn", pool=4)}
BATCH_NORM = {"backbone": schema.TinyBackbone(type="tiny", width=8, stride=8, norm="batch")}


def learned(detector, precision=None):
    """Losses, gradients and statistics of a step."""
    with (precision or Precision()).autocast():
        losses = detector(BATCH, [TARGET])
    sum(losses.values()).backward()
    gradients = {name: one.grad for name, one in detector.named_parameters()}
    return losses, gradients, dict(detector.named_buffers())


def assert_equal(one, two, atol=0.0):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=atol)


@pytest.mark.parametrize(
    "sections", [{}, C4, BATCH_NORM], ids=["group_norm", "conv5_per_roi", "batch_norm"]
)
def test_losses_gradients_and_statistics_are_the_same(tiny_detector, sections):
    plain = tiny_detector(**sections).double()
    saving = copy.deepcopy(plain)
    assert recompute_blocks(saving) == 4
    assert list(saving.state_dict()) == list(plain.state_dict())
    for one, two in zip(learned(plain), learned(saving), strict=True):
        assert_equal(one, two, atol=1e-12)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_they_are_with_half_the_bits_too(tiny_detector, name):
    plain, saving = tiny_detector(), tiny_detector()
    recompute_blocks(saving)
    for one, two in zip(
        learned(plain, Precision(name)), learned(saving, Precision(name)), strict=True
    ):
        assert_equal(one, two)


def kept_bytes(detector):
    """What the graph of a step holds, of all that was computed."""
    held = {}

    def keep(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = detector(BATCH, [TARGET])
    assert all(value.requires_grad for value in losses.values())
    return sum(held.values())


def test_blocks_keep_what_they_were_given_and_no_more(tiny_detector):
    backbone = {"backbone": schema.ResNetBackbone(depth=50, weights="none", frozen_stages=0)}
    plain, saving = tiny_detector(**backbone), tiny_detector(**backbone)
    assert recompute_blocks(saving) == 16
    weights = sum(one.numel() * one.element_size() for one in plain.parameters())
    assert kept_bytes(saving) - weights < 0.5 * (kept_bytes(plain) - weights)


def test_frozen_stages_stay_without_gradient():
    torch.manual_seed(0)
    plain = ResNet(18, frozen_stages=2).double()
    saving = copy.deepcopy(plain)
    recompute_blocks(saving)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for network in (plain, saving):
        network(images).roi.square().mean().backward()
    gradients = [{n: p.grad for n, p in one.named_parameters()} for one in (plain, saving)]
    assert gradients[1]["layer1.0.conv1.weight"] is None
    gradients = [{n: g for n, g in one.items() if g is not None} for one in gradients]
    assert_equal(*gradients, atol=1e-12)


def test_nothing_is_computed_twice_where_no_gradient_is_wanted(tiny_detector):
    detector = tiny_detector()
    recompute_blocks(detector)
    calls = []
    detector.backbone.conv3.norm1.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        detector(BATCH)
    assert len(calls) == 1
    learned(detector)
    assert len(calls) == 3


def test_a_copy_computes_with_its_own_weights(tiny_detector):
    """Alternating training keeps copies of earlier stages."""
    detector = tiny_detector()
    recompute_blocks(detector)
    twin = copy.deepcopy(detector)
    for parameter in detector.parameters():
        parameter.data.zero_()
    images = detector.normalize(BATCH)
    assert twin.backbone(images).roi.abs().sum() > 0
    assert detector.backbone(images).roi.abs().sum() == 0


def test_vgg_has_no_blocks_and_it_is_said():
    with torch.device("meta"):
        vgg = build_detector(
            schema.Model(backbone=schema.VGG16Backbone(type="vgg16")), ["a"], pretrained=False
        )
    with pytest.raises(ConfigError, match=r"this detector has none\. Turn it off"):
        recompute_blocks(vgg)
