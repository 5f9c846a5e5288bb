import pytest
import torch
import torchvision
from torch.testing import assert_close

from rfcn.errors import WeightsError
from rfcn.models.vgg import VGG16
from rfcn.models.weights import load_stages


def on_meta(**settings):
    with torch.device("meta"):
        return VGG16(**settings)


@pytest.fixture(scope="module")
def pair():
    """torchvision's own network and ours with its weights."""
    torch.manual_seed(0)
    published = torchvision.models.vgg16(weights=None, init_weights=False).eval()
    network = on_meta().eval()
    network.load_state_dict(published.state_dict(), strict=False, assign=True)
    return published, network


def test_one_map_of_stride_16():
    network = on_meta()
    features = network(torch.empty(2, 3, 600, 1000, device="meta"))
    assert features.rpn.shape == features.roi.shape == (2, 512, 37, 62)
    assert network.stride == network.roi_stride == 16


def test_thirteen_convolutions_as_published():
    convolutions = [one for one in on_meta().features if isinstance(one, torch.nn.Conv2d)]
    assert len(convolutions) == 13
    named = [name for names in VGG16.stages.values() for name in names if "features" in name]
    assert [on_meta().get_submodule(name).out_channels for name in named] == [
        one.out_channels for one in convolutions
    ]


@torch.no_grad()
def test_the_tail_finishes_what_torchvision_computes(pair):
    """A picture of 224 pixels is one RoI of 14 x 14 cells, pooled to 7 x 7 by pool5."""
    published, network = pair
    images = torch.randn(1, 3, 224, 224)
    conv5 = network(images).roi
    assert_close(conv5, published.features[:-1](images))
    tail = network.split_off_tail()
    fc7 = tail.body.eval()(torch.nn.functional.max_pool2d(conv5, 2))
    assert fc7.shape == (1, tail.channels)
    assert_close(published.classifier[-1](fc7), published(images))
    assert {name.split(".")[0] for name in network.state_dict()} == {"features"}


@pytest.mark.parametrize("frozen_stages", [0, 2, 4])
def test_frozen_stages_never_get_gradients(frozen_stages):
    network = on_meta(frozen_stages=frozen_stages)
    frozen = [name for names in list(VGG16.stages.values())[:frozen_stages] for name in names]
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != (name.rpartition(".")[0] in frozen), name


def test_a_file_of_the_features_alone_leaves_fc_untrained():
    """torchvision's IMAGENET1K_FEATURES: NaN in the place of fc6 and fc7."""
    small = on_meta()
    state = {name: torch.zeros(one.shape) for name, one in small.state_dict().items()}
    nothing = {name: one for name, one in state.items() if not name.startswith("classifier")}
    assert load_stages(small, nothing, "file") == ["fc"]
    half = {name: one for name, one in state.items() if name != "features.28.weight"}
    with pytest.raises(WeightsError, match=r"conv5.*features\.28\.weight is missing"):
        load_stages(small, half, "file")
    state["classifier.0.weight"].fill_(torch.nan)
    state["classifier.3.weight"].fill_(torch.nan)
    state["classifier.0.bias"].fill_(torch.nan)
    state["classifier.3.bias"].fill_(torch.nan)
    assert load_stages(small, state, "file") == ["fc"]


def test_all_convolutions_are_shared():
    network = on_meta()
    network.split_off_tail()
    assert network.trunk(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 512, 4, 4)
    assert list(network.above_trunk.parameters()) == []
