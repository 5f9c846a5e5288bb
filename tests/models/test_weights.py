import functools
import hashlib
import os
import re
import tempfile
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.testing import assert_close

from rfcn.download import ATTEMPTS, RemoteFile
from rfcn.errors import MachineError, WeightsError
from rfcn.models.resnet import ResNet
from rfcn.models.weights import _cache, _remote, load_backbone, load_stages
from tests.file_server import FileServer

STAGE_MODULES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def published():
    """A whole ResNet-18 as torchvision saves it, of random weights."""
    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


def first_stages(state, last):
    """What a file that ends after a module of this name holds."""
    modules = STAGE_MODULES[: STAGE_MODULES.index(last) + 1]
    return {name: value for name, value in state.items() if name.split(".")[0] in modules}


def save(tmp_path, state, name="weights.pth"):
    path = tmp_path / name
    torch.save(state, path)
    return path


# ----------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_whole_file_trains_every_stage(kind, published, tmp_path):
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    backbone = ResNet(18)
    assert load_backbone(backbone, str(path)) == []
    for name, value in backbone.state_dict().items():
        assert_close(value, published[name], rtol=0, atol=0)


def test_a_trunk_leaves_conv5_untrained(published, tmp_path):
    backbone = ResNet(18)
    before = backbone.layer4[0].conv1.weight.clone()
    path = save(tmp_path, first_stages(published, "layer3"))
    assert load_backbone(backbone, str(path)) == ["conv5"]
    assert_close(backbone.layer4[0].conv1.weight, before, rtol=0, atol=0)
    assert_close(backbone.layer3[1].conv2.weight, published["layer3.1.conv2.weight"])


def test_a_file_of_conv1_alone(published, tmp_path):
    path = save(tmp_path, first_stages(published, "bn1"))
    assert load_backbone(ResNet(18), str(path)) == ["conv2", "conv3", "conv4", "conv5"]


def test_a_tilde_is_the_home_folder(published, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path, published)
    assert load_backbone(ResNet(18), "~/weights.pth") == []


def test_weights_keep_their_gradient_settings(published):
    backbone = ResNet(18, frozen_stages=2)
    load_stages(backbone, published, "file")
    assert not backbone.layer1[0].conv1.weight.requires_grad
    assert backbone.layer2[0].conv1.weight.requires_grad
    assert backbone.layer2[0].conv1.weight.is_leaf


def test_half_precision_files_are_widened(published):
    backbone = ResNet(18)
    load_stages(backbone, {name: value.half() for name, value in published.items()}, "file")
    assert backbone.conv1.weight.dtype == torch.float32
    assert_close(backbone.conv1.weight.data, published["conv1.weight"].half().float())


def test_live_batch_norm_needs_no_count_of_batches(published):
    """Older files, torchvision's own among them, do not hold num_batches_tracked."""
    old = {name: value for name, value in published.items() if "num_batches" not in name}
    backbone = ResNet(18, conv5_norm="batch")
    assert load_stages(backbone, old, "file") == []
    assert_close(backbone.layer4[0].bn1.running_var, published["layer4.0.bn1.running_var"])


def test_the_real_trunk(data_folder):
    [path] = (data_folder / "resnet18_trunk").glob("*.pth")
    backbone = ResNet(18, conv5_norm="group")
    assert load_backbone(backbone, str(path)) == ["conv5"]
    with torch.no_grad():
        features = backbone.eval()(torch.randn(1, 3, 96, 96))
    # trained weights: activations neither die out nor blow up
    assert 0.05 < features.rpn.std() < 5
    stored = torch.load(path, weights_only=True)
    for name in ("conv1.weight", "bn1.bias", "layer3.1.conv2.weight"):
        assert_close(backbone.state_dict()[name], stored[name].float(), rtol=0, atol=0)


# ------------------------------------------------------------------------------------ bad files


def refused(weights):
    """The paragraph a user reads."""
    with pytest.raises(WeightsError) as caught:
        load_backbone(ResNet(18), str(weights))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    path = tmp_path / "nowhere.pth"
    message = refused(path)
    assert str(path) in message
    assert "imagenet" in message


def test_a_folder_is_no_file(tmp_path):
    assert str(tmp_path) in refused(tmp_path)


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_a_truncated_file(name, published, tmp_path):
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    path.write_bytes(path.read_bytes()[:100_000])
    message = refused(path)
    assert str(path) in message
    assert "truncated" in message


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs\n", b"<html>404</html>\n" * 99])
@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_a_text_file(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"state_dict": {"conv1.weight": torch.zeros(1)}}, {"epoch": 3}, torch.zeros(2)],
)
def test_something_that_is_no_state_dict(content, tmp_path):
    message = refused(save(tmp_path, content))
    assert "not a state dict" in message


def test_a_file_that_runs_code_is_refused(tmp_path):
    path = save(tmp_path, {"conv1.weight": pytest.raises})
    assert str(path) in refused(path)


@pytest.mark.parametrize("state", [{}, {"encoder.weight": torch.zeros(3)}])
def test_weights_of_something_else(state, tmp_path):
    message = refused(save(tmp_path, state))
    assert "no tensor of torchvision's resnet18" in message
    assert all(name in message for name in state)


def test_the_wrong_depth_names_tensor_and_shapes(published, tmp_path):
    with torch.device("meta"):
        backbone = ResNet(50)
    with pytest.raises(WeightsError) as caught:
        load_stages(
            backbone, {**published, "layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}, "f"
        )
    message = str(caught.value)
    assert "conv2" in message
    assert "(64, 64, 3, 3)" in message
    assert "(64, 64, 1, 1)" in message
    assert "depth" in message


def test_a_stage_with_a_hole_is_refused(published, tmp_path):
    path = save(tmp_path, {n: v for n, v in published.items() if n != "layer2.1.bn2.bias"})
    message = refused(path)
    assert "layer2.1.bn2.bias is missing" in message
    assert "conv3" in message


# ------------------------------------------------------------------------------------ downloads


@pytest.fixture
def offered(published, tmp_path, monkeypatch):
    """A server in the place of the download site, ResNet-18 on it, and an empty download cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("rfcn.download.PAUSE", 0.0)
    local = functools.partial(RemoteFile, own_machine=True)
    monkeypatch.setattr("rfcn.models.weights.RemoteFile", local)
    path = tmp_path / "published.pth"
    torch.save(published, path, _use_new_zipfile_serialization=False)  # as the published ones are
    content = path.read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value
    with FileServer({name: content}) as server:
        monkeypatch.setattr(weights, "url", f"{server.url}/{name}")
        monkeypatch.setitem(weights.meta, "_file_size", round(len(content) / 2**20, 3))
        yield server


@pytest.fixture
def cached(offered, tmp_path):
    """Where the file lies once it is downloaded."""
    return tmp_path / "cache" / "hub" / "checkpoints" / next(iter(offered.files))


def test_a_download_is_checked_kept_and_loaded(published, offered, cached):
    for _ in range(2):
        backbone = ResNet(18)
        assert load_backbone(backbone, "imagenet") == []
        assert_close(backbone.conv1.weight.data, published["conv1.weight"])
    assert len(offered.requests) == 1
    assert cached.read_bytes() == offered.files[cached.name]


def download_fails(*, kept):
    with pytest.raises(MachineError) as caught:
        load_backbone(ResNet(18), "imagenet")
    message = str(caught.value)
    assert "\n" not in message
    assert "You can also put the file there yourself" in message or "give the same" in message
    assert "set model.backbone.weights to the path of a copy, or to none" in message
    assert [path.name for path in kept.parent.iterdir() if not path.name.endswith(".part")] == []
    return message


def test_what_a_download_brings_instead(offered, cached):  # S3
    whole = offered.files[cached.name]
    offered.files[cached.name] = b"<html>Please log in</html>"
    assert "the server sends 26 bytes" in download_fails(kept=cached)
    offered.files[cached.name] = whole[:-1] + bytes([whole[-1] ^ 255])
    assert "was fetched has the SHA256" in download_fails(kept=cached)
    offered.files.clear()
    assert "the server answers 404" in download_fails(kept=cached)
    assert list(cached.parent.iterdir()) == []  # nothing bad is kept


def test_a_download_that_is_interrupted_goes_on(offered, cached):  # S3
    offered.breaks_after = [1000] * ATTEMPTS
    assert "cannot be fetched (the connection ended early" in download_fails(kept=cached)
    assert cached.with_name(f"{cached.name}.part").stat().st_size == 1000 * ATTEMPTS
    offered.requests.clear()
    assert load_backbone(ResNet(18), "imagenet") == []
    assert offered.requests == [f"bytes={1000 * ATTEMPTS}-"]


def test_no_network(cached, offered, monkeypatch):  # S3
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value
    with FileServer({}) as gone:
        monkeypatch.setattr(weights, "url", f"{gone.url}/{cached.name}")
    assert "refused" in download_fails(kept=cached)


def test_a_broken_file_in_the_download_cache(cached):
    """Put there by hand, say."""
    cached.parent.mkdir(parents=True)
    for content in (b"", b"<html>", b"PK\x03\x04 truncated"):
        cached.write_bytes(content)
        message = refused("imagenet")
        assert str(cached) in message
        assert "delete it" in message


@pytest.mark.parametrize("how", ["cannot be made", "cannot be written"])
def test_a_cache_that_cannot_be_written(  # S4
    how, offered, cached, tmp_path, monkeypatch, caplog
):
    if how == "cannot be made":
        (tmp_path / "cache").write_text("in the way")
    else:
        cached.parent.mkdir(parents=True)
        monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "short"))
    (tmp_path / "short").mkdir()
    assert load_backbone(ResNet(18), "imagenet") == []
    assert "downloaded weights are not kept. Set TORCH_HOME to" in caplog.text
    assert str(cached.parent) in caplog.text
    assert list((tmp_path / "short").iterdir()) == []


def test_a_read_only_cache_that_has_the_file(offered, cached, monkeypatch, caplog):  # S4
    cached.parent.mkdir(parents=True)
    cached.write_bytes(offered.files[cached.name])
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert load_backbone(ResNet(18), "imagenet") == []
    assert (caplog.text, offered.requests) == ("", [])


def test_without_a_home_the_cache_is_still_found(monkeypatch):  # S4
    for name in ("HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with _cache("a.pth") as folder:
        assert folder.is_absolute()


def test_every_published_file_states_its_size_and_its_hash():
    for backbone in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16"):
        for one in torchvision.models.get_model_weights(backbone):
            remote = _remote(one)
            assert remote.url.startswith("https://")
            assert re.fullmatch("[0-9a-f]{8}", remote.digest)
            assert 40e6 < remote.size < 600e6


def test_an_unknown_enum_names_those_there_are():
    with pytest.raises(WeightsError, match=r"IMAGENET1K_V7.*resnet18.*IMAGENET1K_V1"):
        load_backbone(ResNet(18), "IMAGENET1K_V7")
