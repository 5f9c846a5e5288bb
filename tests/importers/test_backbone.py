import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.errors import WeightsError
from rfcn.importers.backbone import recognise, take_backbone
from rfcn.importers.foreign import Foreign
from rfcn.importers.ledger import Ledger
from rfcn.models.resnet import ResNet
from rfcn.models.vgg import VGG16
from tests.importers.networks import block_name, by_common_name, names_of


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_tensor_of_every_depth_finds_its_place(depth):
    with torch.device("meta"):
        ours = ResNet(depth).state_dict()
    common = names_of(ours)
    tensors = {
        name: torch.full((1, 3, 1, 1), float(place)) for place, name in enumerate(common.values())
    }
    network = recognise(tensors)
    assert network == ("resnet", depth, ("conv1", "conv2", "conv3", "conv4", "conv5"))
    ledger = Ledger(Foreign("X", tensors, {}))
    take_backbone(ledger, network)
    assert ledger.missing == []
    assert ledger.left(str) == []
    assert set(ledger.state) == set(ours)
    for place, name in enumerate(ours):
        assert ledger.state[name].flatten()[0] == place, name


def test_blocks_are_named_as_in_the_released_nets():
    assert [block_name(4, b, 23) for b in (0, 1, 22)] == ["4a", "4b1", "4b22"]
    assert [block_name(4, b, 6) for b in (0, 5)] == ["4a", "4f"]
    assert [block_name(5, b, 3) for b in (0, 2)] == ["5a", "5c"]


def test_an_early_end_is_no_other_depth():
    names = [n for n in names_of(meta(50)).values() if not n.startswith(("res5", "bn5"))]
    assert recognise(names) == ("resnet", 50, ("conv1", "conv2", "conv3", "conv4"))


def meta(depth):
    with torch.device("meta"):
        return ResNet(depth).state_dict()


def test_other_networks_are_not_guessed():
    assert recognise(["fc1.weight"]) is None
    with pytest.raises(WeightsError, match="has 1, 1, 0, 0 blocks"):
        recognise(["res2a_branch2c.weight", "res3a_branch2c.weight"])


@torch.no_grad()
def test_blue_first_sees_what_red_first_saw():
    weight = torch.randn(4, 3, 3, 3)
    tensors = {"conv1.weight": weight, "res2a_branch2a.weight": torch.ones(1)}
    ledger = Ledger(Foreign("X", tensors, {}, bgr=True))
    take_backbone(ledger, recognise(NAMES_18))
    picture = torch.randn(1, 3, 8, 8)
    assert_close(
        torch.conv2d(picture, ledger.state["conv1.weight"]), torch.conv2d(picture.flip(1), weight)
    )
    assert "bn_conv1.weight" in ledger.missing


NAMES_18 = list(names_of(meta(18)).values())


@torch.no_grad()
def test_a_bias_before_a_norm_and_a_norm_that_was_folded():
    """ResNet-50's conv1 has a bias in Caffe; merged nets have biases and no norms."""
    torch.manual_seed(0)
    state = ResNet(18).state_dict()
    tensors = {k: torch.from_numpy(v) for k, v in by_common_name(state).items()}
    tensors["conv1.bias"] = torch.randn(64)
    for part in ("weight", "bias", "running_mean", "running_var"):
        del tensors[f"bn2a_branch2a.{part}"]
    tensors["res2a_branch2a.bias"] = torch.randn(64)
    ledger = Ledger(Foreign("X", tensors, {}))
    take_backbone(ledger, recognise(tensors))
    assert ledger.missing == []
    network = ResNet(18)
    network.load_state_dict(ledger.state)
    x = torch.randn(1, 3, 8, 8)
    stem = torch.conv2d(x, tensors["conv1.weight"], tensors["conv1.bias"], stride=2, padding=3)
    norm = [tensors[f"bn_conv1.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
    by_hand = torch.nn.functional.batch_norm(stem, *norm, eps=1e-5)
    assert_close(network.bn1(network.conv1(x)), by_hand)
    y = torch.randn(1, 64, 6, 6)
    block = network.layer1[0]
    by_hand = torch.conv2d(
        y, tensors["res2a_branch2a.weight"], tensors["res2a_branch2a.bias"], padding=1
    )
    assert_close(block.bn1(block.conv1(y)), by_hand)


def test_vgg_16_with_and_without_its_fc_layers():
    with torch.device("meta"):
        ours = VGG16().state_dict()
    sizes = (2, 2, 3, 3, 3)
    names = [f"conv{s}_{n}" for s, count in enumerate(sizes, 1) for n in range(1, count + 1)]
    for more in ([], ["fc6", "fc7"]):
        tensors = {
            f"{name}.{part}": torch.full((1, 3), float(place))
            for place, name in enumerate([*names, *more])
            for part in ("weight", "bias")
        }
        network = recognise(tensors)
        assert network.kind == "vgg16"
        assert ("fc" in network.stages) == bool(more)
        ledger = Ledger(Foreign("X", tensors, {}, bgr=True))
        take_backbone(ledger, network)
        kept = [name for name in ours if more or not name.startswith("classifier")]
        assert list(ledger.state) == kept
        values = [ledger.state[name].flatten()[0] for name in kept if name.endswith("weight")]
        assert np.all(np.diff(values) == 1)
