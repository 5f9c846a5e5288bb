import pickle

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.errors import WeightsError
from rfcn.importers import detectron2
from rfcn.importers.backbone import recognise, take_backbone
from rfcn.importers.foreign import IMAGENET_STD
from rfcn.importers.ledger import Ledger
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.models.resnet import ResNet

PARTS = {"downsample.0": "shortcut.", "downsample.1": "shortcut.norm.", "conv1": "conv1.",
         "bn1": "conv1.norm.", "conv2": "conv2.", "bn2": "conv2.norm.", "conv3": "conv3.",
         "bn3": "conv3.norm."}  # fmt: skip


def d2_name(ours: str, form: str) -> str:
    """torchvision's name -> detectron2's, of a C4 detector (conv5 in its heads) or a pyramid."""
    words = ours.split(".")
    stem = "backbone." if form == "c4" else "backbone.bottom_up."
    if form == "bare":
        stem = ""
    if len(words) == 2:
        return f"{stem}stem.conv1.{'norm.' if words[0] == 'bn1' else ''}{words[1]}"
    stage = int(words[0][-1]) + 1
    before = "roi_heads." if form == "c4" and stage == 5 else stem
    return f"{before}res{stage}.{words[1]}.{PARTS['.'.join(words[2:-1])]}{words[-1]}"


def tensors_of(depth: int) -> dict[str, np.ndarray]:
    """Every tensor of a ResNet by our names, small, each with a number of its own."""
    with torch.device("meta"):
        names = list(ResNet(depth).state_dict())
    return {name: np.full((1, 3), place, "f4") for place, name in enumerate(names)}


def read(path, content):
    (path / "a.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return detectron2.read(path / "a.pkl")


def taken(foreign):
    network = recognise(foreign.tensors)
    ledger = Ledger(foreign)
    take_backbone(ledger, network)
    return network, ledger


@pytest.mark.parametrize("form", ["c4", "fpn", "bare"])
def test_every_tensor_of_a_backbone_finds_its_place(form, tmp_path):
    ours = tensors_of(50)
    theirs = {d2_name(name, form): array for name, array in ours.items()}
    theirs["proposal_generator.rpn_head.conv.weight"] = np.ones(2, "f4")
    foreign = read(tmp_path, {"model": theirs, "__author__": "Detectron2 Model Zoo"})
    assert (foreign.bgr, foreign.style, foreign.doubtful) == (True, "caffe", True)
    network, ledger = taken(foreign)
    assert (network.kind, network.depth) == ("resnet", 50)
    assert ledger.missing == []
    assert set(ledger.state) == set(ours)
    for name, array in ours.items():
        assert ledger.state[name][0, 0] == array[0, 0], name
    left = [one.source for one in ledger.left(str)]
    assert left == ["proposal_generator.rpn_head.conv.weight"]
    assert detectron2.is_named(theirs)


def test_files_made_of_torchvisions_say_so(tmp_path):
    theirs = {d2_name(name, "bare"): array for name, array in tensors_of(50).items()}
    content = {"model": theirs, "__author__": "torchvision", "matching_heuristics": True}
    foreign = read(tmp_path, content)
    assert (foreign.bgr, foreign.style, foreign.doubtful) == (False, "torchvision", False)
    assert foreign.std == IMAGENET_STD


@torch.no_grad()
def test_detectrons_norms_have_no_statistics(tmp_path):
    random = np.random.default_rng(0)
    blobs = {"conv1_w": random.normal(size=(4, 3, 7, 7)).astype("f4")}
    for stage, blocks in zip(range(2, 6), (3, 4, 23, 3), strict=True):
        for block in range(blocks):
            for branch in ("branch1", "branch2a", "branch2b", "branch2c")[block > 0 :]:
                blobs[f"res{stage}_{block}_{branch}_w"] = np.ones((4, 4, 1, 1), "f4")
                for part in "sb":
                    scale = random.normal(size=4).astype("f4")
                    blobs[f"res{stage}_{block}_{branch}_bn_{part}"] = scale
    blobs |= {"res_conv1_bn_s": np.full(4, 2.0, "f4"), "res_conv1_bn_b": np.full(4, 3.0, "f4")}
    network, ledger = taken(read(tmp_path, {"blobs": blobs | {"fc1000_w": np.ones(2, "f4")}}))
    assert (network.kind, network.depth) == ("resnet", 101)
    assert ledger.missing == []
    norm = FrozenBatchNorm(4)
    norm.load_state_dict({k[4:]: v for k, v in ledger.state.items() if k.startswith("bn1.")})
    x = torch.randn(1, 4, 3, 3)
    assert_close(norm(x), 2 * x + 3)
    flipped = torch.from_numpy(blobs["conv1_w"]).flip(1)
    assert torch.equal(ledger.state["conv1.weight"], flipped)
    assert torch.equal(
        ledger.state["layer3.22.bn3.weight"], torch.from_numpy(blobs["res4_22_branch2c_bn_s"])
    )


def test_what_is_no_dict_of_arrays(tmp_path):
    with pytest.raises(WeightsError, match="no arrays by name"):
        read(tmp_path, [1])
    with pytest.raises(WeightsError, match=r"a\.pkl cannot be read as a pickle of arrays"):
        read(tmp_path, {"a": {1, 2}})
