"""What CUDA runs for roi_average_pool, on the host and held against the definition."""

import pytest
import torch
from host_pooling import HostPooling, shared

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.plain import roi_average_pool as plain
from rfcn.ops.reference import roi_average_pool as reference

SCALE = 1 / 16


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return HostPooling(tmp_path_factory.mktemp("host"))


def features_of(pictures, channels, height, width, order, dtype=torch.float64):
    g = torch.Generator().manual_seed(channels)
    features = torch.randn(pictures, channels, height, width, generator=g, dtype=torch.float64)
    return features.to(dtype).contiguous(memory_format=order)


ORDERS = pytest.mark.parametrize(
    "order", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels-last"]
)


@ORDERS
@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize(("k", "height", "width"), [(1, 4, 5), (3, 1, 1), (3, 9, 7), (7, 10, 12)])
def test_forward_and_backward(host, make_rois, semantics, k, height, width, order):
    features = features_of(2, 3, height, width, order)
    rois = make_rois(70, 2, 16 * height, 16 * width, seed=k)
    expected = reference.roi_average_pool(features, rois, k, SCALE, semantics)
    gradient = torch.randn_like(expected)
    shape = tuple(features.shape)
    back = reference.roi_average_pool_backward(gradient, rois, k, SCALE, shape, semantics)
    for seed in (0, 1):
        pooled, _ = host.forward(shared(features, k), rois, SCALE, semantics, seed=seed)
        assert (pooled - expected).abs().max() <= 1e-12
        found = host.average_backward(gradient, features, rois, SCALE, semantics, seed=seed)
        assert found.stride() == features.stride()
        assert (found - back).abs().max() <= 1e-12


@ORDERS
@pytest.mark.parametrize(
    ("channels", "k", "height", "width", "count"),
    [
        pytest.param(520, 2, 3, 5, 30, id="many channels"),
        pytest.param(64, 9, 12, 70, 30, id="many bins"),
        pytest.param(2, 2, 2, 3000, 90, id="wide"),
        pytest.param(1, 1, 3, 4, 9000, id="many RoIs"),
        pytest.param(8, 5, 7, 9, 0, id="no RoIs"),
    ],
)
def test_every_way_to_share_the_work(host, make_rois, channels, k, height, width, count, order):
    features = features_of(2, channels, height, width, order).requires_grad_()
    rois = make_rois(count, 2, 16 * height, 16 * width, seed=count)
    expected = plain.roi_average_pool(features, rois, k, SCALE)
    given = torch.randn_like(expected)
    (back,) = torch.autograd.grad(expected, features, given)
    results = []
    for seed in (0, 3):
        pooled, _ = host.forward(shared(features.detach(), k), rois, SCALE, seed=seed)
        found = host.average_backward(given, features.detach(), rois, SCALE, seed=seed)
        results.append((pooled, found))
    assert torch.allclose(pooled, expected, rtol=0, atol=1e-11)
    assert torch.allclose(found, back, rtol=0, atol=1e-11)
    for a, b in zip(*results, strict=True):  # neither threads nor blocks have an order
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_rounds_once(host, make_rois, dtype):
    features = features_of(2, 16, 8, 9, torch.channels_last, dtype)
    rois = make_rois(80, 2, 128, 144, seed=1)
    pooled, _ = host.forward(shared(features, 3), rois, SCALE)
    packs, _ = host.forward(shared(features, 3), rois, SCALE, packs=True)
    wide, _ = host.forward(shared(features.float(), 3), rois, SCALE)
    assert torch.equal(pooled, wide.to(dtype))
    assert torch.equal(pooled, packs)
    given = torch.randn(80, 16, 3, 3).to(dtype)
    found = host.average_backward(given, features, rois, SCALE)
    expected = host.average_backward(given.float(), features.float(), rois, SCALE)
    assert torch.equal(found, expected.to(dtype))


def test_bad_rows_give_zeros(host):  # what a GPU does where the CPU raises
    nan, inf = float("nan"), float("inf")
    rois = torch.tensor(
        [[2.0, 0, 0, 9, 9], [-1, 0, 0, 9, 9], [nan, 0, 0, 9, 9], [1, -inf, 0, inf, 9]]
    )
    features = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    pooled, _ = host.forward(shared(features, 2), rois, SCALE)
    assert not pooled.any()
    assert not host.average_backward(torch.ones_like(pooled), features, rois, SCALE).any()
