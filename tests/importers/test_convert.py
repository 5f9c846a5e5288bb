import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from rfcn.config.loader import config_from_mapping
from rfcn.errors import WeightsError
from rfcn.importers.convert import Options, import_weights
from rfcn.importers.detector import Wishes
from rfcn.inference.detector import Detector
from rfcn.models.heads.row_order import convert_rows
from rfcn.parts.backbones import build_backbone
from tests.importers.caffe_files import convolution, net, norm
from tests.importers.networks import by_common_name, random_state

NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(scope="module")
def backbone():
    return random_state(18)


def caffe_layers(backbone) -> list[bytes]:
    """A ResNet-18 as Caffe keeps it: blue first, norms as sums with a factor."""
    common = by_common_name(backbone)
    common["conv1.weight"] = common["conv1.weight"][:, ::-1]
    layers = []
    for name, array in common.items():
        layer, _, part = name.rpartition(".")
        if layer.startswith(("res", "conv1")):
            layers.append(convolution(layer, array))
        elif part == "weight":
            layers.append(norm(layer, [common[f"{layer}.{p}"] for p in NORM], factor=4.0))
    return layers


def head_layers(k=3, classes=2, width=8) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    rows = {"conv_new_1": (width, 512, 1), "rfcn_cls": (k * k * (classes + 1), width, 1),
            "rfcn_bbox": (k * k * 8, width, 1), "rpn_conv/3x3": (4, 256, 3),
            "rpn_cls_score": (18, 4, 1), "rpn_bbox_pred": (36, 4, 1)}  # fmt: skip
    found = {
        name: (random.normal(size=(o, i, s, s)) * 0.01, random.normal(size=o) * 0.01)
        for name, (o, i, s) in rows.items()
    }
    std = np.tile(np.repeat([0.1, 0.1, 0.2, 0.2], k * k), 2)
    weight, bias = found["rfcn_bbox"]
    found["rfcn_bbox"] = (weight * std[:, None, None, None], bias * std)
    return found


@pytest.fixture(scope="module")
def caffemodel(backbone, tmp_path_factory):
    path = tmp_path_factory.mktemp("caffe") / "rfcn.caffemodel"
    more = [convolution(name, *layer) for name, layer in head_layers().items()]
    path.write_bytes(net(*caffe_layers(backbone), *more))
    return path


def test_a_detector_of_caffe_becomes_a_weights_folder(caffemodel, backbone, tmp_path):
    options = Options(Wishes(("cat", "dog")), overrides=("data.test_short_side=64",))
    done = import_weights(caffemodel, tmp_path / "w", options)
    assert (done.what, done.path) == ("a detector", tmp_path / "w")
    detector = Detector.from_pretrained(tmp_path / "w")
    assert detector.class_names == ("cat", "dog")
    state = detector.model.state_dict()
    for name, tensor in backbone.items():
        assert_close(state[f"backbone.{name}"], tensor, rtol=1e-6, atol=1e-7)
    released = torch.from_numpy(head_layers()["rfcn_cls"][0]).float()
    there = convert_rows(state["roi_head.score_maps.weight"].contiguous(), 3, to="class_major")
    assert torch.equal(there, released)
    assert state["normalize.mean"].flatten().tolist() == pytest.approx(
        [122.7717, 115.9465, 102.9801]
    )
    assert state["normalize.std"].flatten().tolist() == [1, 1, 1]
    assert detector.config.model.backbone.style == "caffe"
    found = detector.predict([np.zeros((40, 64, 3), np.uint8)])
    assert found[0].boxes.shape[1] == 4
    report = json.loads((tmp_path / "w" / "import.json").read_text())
    assert report["program"] == "Caffe"
    assert report["missing"] == report["skipped"] == []
    assert {row["target"] for row in report["tensors"]} >= {f"backbone.{name}" for name in backbone}
    assert re.search(r"roi_head\.box_maps\.weight +rfcn_bbox\[0\]", done.text)


def test_its_backbone_alone_trains_another(caffemodel, backbone, tmp_path):
    done = import_weights(caffemodel, tmp_path / "b", Options(backbone_only=True))
    assert load_file(done.path).keys() == backbone.keys()
    import yaml

    settings = yaml.safe_load(done.settings)
    config = config_from_mapping(settings)
    assert config.model.pixel_std == (1, 1, 1)
    built, _ = build_backbone(config.model.backbone, pretrained=True)
    assert_close(dict(built.state_dict()), dict(backbone), rtol=1e-6, atol=1e-7)
    report = json.loads((tmp_path / "b" / "import.json").read_text())
    assert {"rfcn_cls[0]", "rpn_conv/3x3[1]"} <= {one["source"] for one in report["skipped"]}
    assert {one["why"] for one in report["skipped"]} == {
        "of a detector; only the backbone was taken"
    }


def test_a_detector_with_a_hole_is_not_written(backbone, tmp_path):
    path = tmp_path / "a.caffemodel"
    layers = {k: v for k, v in head_layers().items() if k != "conv_new_1"}
    path.write_bytes(net(*caffe_layers(backbone), *(convolution(n, *v) for n, v in layers.items())))
    with pytest.raises(WeightsError, match="does not make a whole detector") as caught:
        import_weights(path, tmp_path / "w", Options(Wishes(("a", "b"))))
    assert "The file lacks conv_new_1.weight, conv_new_1.bias" in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_what_the_user_says_of_a_file_wins(backbone, tmp_path):
    torch.save(backbone, tmp_path / "a.pth")
    options = Options(colours="bgr", style="caffe")
    done = import_weights(tmp_path / "a.pth", tmp_path / "b", options)
    assert torch.equal(load_file(done.path)["conv1.weight"], backbone["conv1.weight"].flip(1))
    assert "style: caffe" in done.settings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "an HTML page.*fetch the file itself"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff" * 64, "a file of unknown kind. Not every program's"),
        ({"roi_heads.box_head.fc1.weight": 1}, "Detectron2"),
        ({"bbox_head.fc_cls.weight": torch.ones(1)}, "holds no ResNet nor VGG-16"),
        (None, "missing"),
    ],
)
def test_an_unknown_file_is_refused_by_name(content, words, tmp_path):
    path = tmp_path / "mystery.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None and "bbox_head.fc_cls.weight" in content:
        torch.save(content, path)
    elif content is not None:
        import pickle

        path.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=words) as caught:
        import_weights(path, tmp_path / "w", Options())
    assert "mystery.bin" in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_eps_is_not_for_every_file(caffemodel, tmp_path):
    with pytest.raises(WeightsError, match="--eps is for torchvision's files"):
        import_weights(caffemodel, tmp_path, Options(eps=0.0))
