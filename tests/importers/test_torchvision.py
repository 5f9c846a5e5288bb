import pytest
import torch
import torchvision as published
from torch import nn
from torch.testing import assert_close

from rfcn.errors import WeightsError
from rfcn.importers import torchvision
from rfcn.importers.backbone import recognise, take_backbone
from rfcn.importers.ledger import Ledger
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.models.resnet import ResNet


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return published.models.resnet18(weights=None).state_dict()


def wrapped(state, form):
    """As torchvision's scripts and detectors keep the same weights."""
    if form == "detector":
        body = {f"backbone.body.{k}": v for k, v in state.items() if not k.startswith("fc.")}
        others = ("backbone.fpn.inner_blocks.0.0.weight", "rpn.head.conv.0.0.weight",
                  "roi_heads.box_predictor.cls_score.weight")  # fmt: skip
        return body | {name: torch.ones(2, 2) for name in others}
    if form == "script":
        return {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    return state


@pytest.mark.parametrize("form", ["classifier", "detector", "script", "old"])
def test_every_form_gives_the_same_backbone(form, state, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(wrapped(state, form), path, _use_new_zipfile_serialization=form != "old")
    foreign = torchvision.read(path)
    assert (foreign.bgr, foreign.style) == (False, "torchvision")
    network = recognise(foreign.tensors)
    assert (network.kind, network.depth) == ("resnet", 18)
    ledger = Ledger(foreign)
    take_backbone(ledger, network)
    assert ledger.missing == []
    with torch.device("meta"):
        assert set(ledger.state) == set(ResNet(18).state_dict())
    for name, tensor in ledger.state.items():
        assert torch.equal(tensor, state[name]), name
    left = {one.source for one in ledger.left(str)}
    assert all(
        "num_batches" in n or n.startswith(("fc", "backbone.fpn", "rpn", "roi", "module.fc"))
        for n in left
    )
    assert len(left) >= 3


@torch.no_grad()
def test_another_eps_goes_into_the_variance(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    foreign = torchvision.read(tmp_path / "a.pth", eps=0.0)
    x = torch.randn(2, 64, 3, 3)
    theirs, ours = nn.BatchNorm2d(64, eps=0.0).eval(), FrozenBatchNorm(64)
    small = torch.full((64,), 1e-6)
    theirs.running_var.copy_(small)
    torch.save({**state, "bn1.running_var": small}, tmp_path / "b.pth")
    ours.running_var.copy_(
        torchvision.read(tmp_path / "b.pth", eps=0.0).tensors["bn_conv1.running_var"]
    )
    assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-3)
    assert foreign.notes == ["eps 0 was put into the variances."]


def test_vgg_16_by_its_own_names():
    assert torchvision.common_name("features.28.bias") == "conv5_3.bias"
    assert torchvision.common_name("classifier.3.weight") == "fc7.weight"
    assert torchvision.common_name("classifier.6.weight") == "classifier.6.weight"
    assert torchvision.common_name("backbone.fpn.layer.1.bias") == "backbone.fpn.layer.1.bias"


class Evil:
    def __reduce__(self):
        return (print, ("it ran",))


@pytest.mark.parametrize("content", [{"a": Evil()}, [torch.ones(1)], b"PK\x03\x04/data.pkl cut"])
def test_what_is_no_state_dict_is_refused(content, tmp_path, capsys):
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=r"a\.pth"):
        torchvision.read(path)
    assert "it ran" not in capsys.readouterr().out


def test_one_layer_twice(tmp_path):
    torch.save(
        {"conv1.weight": torch.ones(1), "module.conv1.weight": torch.ones(1)}, tmp_path / "a"
    )
    with pytest.raises(WeightsError, match="are the same layer"):
        torchvision.read(tmp_path / "a")
