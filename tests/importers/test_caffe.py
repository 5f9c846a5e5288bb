import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.errors import WeightsError
from rfcn.importers import caffe
from tests.importers.caffe_files import blob, convolution, field, layer, net, norm, old_layer

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def read(path, content: bytes):
    (path / "a.caffemodel").write_bytes(content)
    return caffe.read(path / "a.caffemodel")


def test_both_generations_are_read_exactly(tmp_path):
    weight, bias, inner = numbers(4, 3, 2, 2), numbers(4), numbers(5, 6)
    new = net(
        convolution("conv1", weight, bias), layer("fc6", "InnerProduct", blob(inner), blob(bias))
    )
    old = net(
        old_layer("conv1", 4, blob(weight, old=True), blob(bias, old=True)),
        old_layer("fc6", 14, blob(inner, old=True), blob(bias, old=True)),
        old_layer("relu", 18),
    )
    for content in (new, old):
        found = read(tmp_path, content)
        assert set(found.tensors) == {"conv1.weight", "conv1.bias", "fc6.weight", "fc6.bias"}
        assert torch.equal(found.tensors["conv1.weight"], torch.from_numpy(weight))
        assert torch.equal(found.tensors["conv1.bias"], torch.from_numpy(bias))
        assert torch.equal(found.tensors["fc6.weight"], torch.from_numpy(inner))
        assert found.origin["conv1.bias"] == ("conv1[1]",)
        assert found.bgr
        assert (found.style, found.std) == ("caffe", (1, 1, 1))


@pytest.mark.parametrize("form", [{"packed": False}, {"double": True}])
def test_other_ways_to_write_numbers(form, tmp_path):
    weight = numbers(2, 3, 1, 1)
    found = read(tmp_path, net(layer("a/b", "Convolution", blob(weight, **form))))
    assert torch.equal(found.tensors["a_b.weight"], torch.from_numpy(weight))


@pytest.mark.parametrize("eps", [None, 1e-3])
@pytest.mark.parametrize("factor", [1.0, 999.98, 0.0])
def test_norms_compute_as_caffe_does(factor, eps, tmp_path):
    """y = (x - sum_mean / factor) / sqrt(sum_var / factor + eps), then Scale; factor 0 means 0."""
    weight, bias, mean, variance = numbers(4), numbers(4), numbers(4), np.abs(numbers(4)) + 0.1
    found = read(
        tmp_path, net(norm("bn2a_branch1", (weight, bias, mean, variance), factor=factor, eps=eps))
    )
    get = {part: found.tensors[f"bn2a_branch1.{part}"] for part in
           ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
    x = numbers(2, 4, 3, 3)
    if factor == 0:
        mean, variance = mean * 0, variance * 0
    by_hand = (x - mean[:, None, None]) / np.sqrt(variance + (eps or 1e-5))[:, None, None]
    by_hand = by_hand * weight[:, None, None] + bias[:, None, None]
    ours = torch.nn.functional.batch_norm(
        torch.from_numpy(x),
        get["running_mean"],
        get["running_var"],
        get["weight"],
        get["bias"],
        eps=1e-5,
    )
    assert_close(ours, torch.from_numpy(by_hand), rtol=1e-4, atol=1e-4)
    assert "third blob" in found.notes[0]
    assert len(found.notes) == (1 if eps is None else 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (net(), "no layers in it"),
        (net(convolution("a", numbers(4, 4, 1, 1)))[:-3], "needs"),
        (
            net(layer("a", "Convolution", field(7, field(1, b"\x05")) + field(5, b"\0" * 8))),
            "has 2 numbers",
        ),
        (net(layer("a", "Convolution", field(5, b"\0" * 7))), "no whole count"),
        (net(layer("a", "BatchNorm", blob(numbers(3)))), "three blobs"),
        (net(*[convolution("a", numbers(1, 1, 1, 1))] * 2), "two layers give a.weight"),
        (net(layer("a", "Convolution", field(1, 1 << 63) + field(2, 1 << 62))), "0 numbers"),
    ],
)
def test_what_is_damaged_is_refused(content, words, tmp_path):
    with pytest.raises(WeightsError, match=words) as caught:
        read(tmp_path, content)
    assert "a.caffemodel cannot be read as a .caffemodel" in str(caught.value)


def test_layers_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(caffe, "MOST_LAYERS", 3)
    with pytest.raises(WeightsError, match="more than 3 layers"):
        read(tmp_path, net(*[layer("relu", "ReLU")] * 4))


def test_a_file_too_large_is_not_begun(tmp_path):
    with (tmp_path / "a.caffemodel").open("wb") as sparse:
        sparse.truncate(2**32 + 1)
    with pytest.raises(WeightsError, match=r"of more than 4\.3 are not read"):
        caffe.read(tmp_path / "a.caffemodel")
