"""Pool, then multiply: the votes of score maps without the maps."""

import pytest
import torch
from torch import nn

import rfcn.models.heads.pooled_product as pooled_product
from rfcn.models.heads.pooled_product import pooled_votes
from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.roi_average_pool import RoIAveragePool

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
POOL = RoIAveragePool(3, 1 / 16)
WAYS = {"one chunk": (1 << 24, 1 << 30), "many chunks": (4000, 1 << 30), "copied": (9000, 1)}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """With a product for each bin or with copied weights, whole or in chunks."""
    chunk_bytes, enough_rois = WAYS[request.param]
    monkeypatch.setattr(pooled_product, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(pooled_product, "ENOUGH_ROIS", enough_rois)
    monkeypatch.setattr(pooled_product, "SIDE", 3)


def example(dtype=torch.float64, rois=200, pictures=2):
    """Features, RoIs of which some have empty bins, and two layers with a bias."""
    torch.manual_seed(rois)
    features = torch.randn(pictures, 6, 8, 9, dtype=dtype).relu()
    features = features.contiguous(memory_format=torch.channels_last).requires_grad_()
    rows = torch.rand(rois, 5) * torch.tensor([pictures, 240.0, 240, 240, 240]) - 40
    rows[:, 0] = (rows[:, 0] + 40).floor()
    layers = [nn.Conv2d(6, 9 * classes, 1).to(dtype) for classes in (5, 4)]
    for layer in layers:
        nn.init.normal_(layer.bias)
    return features, rows, layers


def by_maps(features, rois, layers):
    """The same votes by the paper's way."""
    maps = [layer(features).unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2, 4, 5) for layer in layers]
    return [psroi_pool(one, rois, 3, 1 / 16).mean((2, 3)) for one in maps]


def close(found, expected):
    bound = TOLERANCE[found.dtype] * expected.abs().max()
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= bound


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_the_maps_empty_bins_included(way, dtype):
    features, rois, layers = example(dtype)
    found = pooled_votes(features, rois, POOL, layers)
    for one, other in zip(found, by_maps(features, rois, layers), strict=True):
        close(one, other)
    cells = psroi_pool(torch.ones(2, 9, 8, 9), rois, 3, 1 / 16).flatten(1).sum(1)
    assert {0.0, 9.0} < set(cells.tolist())  # outside, inside, and on the border


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_equal_those_of_the_maps(way, dtype):
    features, rois, layers = example(dtype)
    inputs = [features, *layers[0].parameters(), *layers[1].parameters()]
    found = pooled_votes(features, rois, POOL, layers)
    gradients = [torch.randn_like(one) for one in found]
    for gradient in gradients:
        gradient[::3] = 0  # as OHEM leaves them
    expected = torch.autograd.grad(by_maps(features, rois, layers), inputs, gradients)
    for one, other in zip(torch.autograd.grad(found, inputs, gradients), expected, strict=True):
        close(one, other)


@pytest.mark.parametrize(
    ("rois", "classes", "pays"), [(63, 32, False), (64, 32, True), (512, 2000, True)]
)
def test_weights_are_copied_where_it_pays(rois, classes, pays):
    features, weight = torch.empty(1, 64, 1, 1), torch.empty(9, classes, 64)
    assert pooled_product._copy_pays(features, rois, [weight]) == pays
    assert not pooled_product._copy_pays(features.double(), rois, [weight])
    assert not pooled_product._copy_pays(features, rois, [weight[..., :63]])  # 9 * 63 is no square


def test_an_empty_bin_gives_nothing_not_its_bias():
    features, _, layers = example()
    outside = torch.tensor([[0.0, 500, 500, 600, 600], [0, -8, 0, 23, 47]])
    votes = pooled_votes(features, outside, POOL, layers)[0]
    assert not votes[0].any()
    close(votes, by_maps(features, outside, layers)[0])


def test_no_rois(way):
    features, rois, layers = example()
    found = pooled_votes(features, rois[:0], POOL, layers)
    assert [one.shape for one in found] == [(0, 5), (0, 4)]
    sum(one.sum() for one in found).backward()
    assert not features.grad.any()
    assert not layers[0].weight.grad.any()
    assert not layers[0].bias.grad.any()


def test_no_layers():
    assert pooled_votes(*example()[:2], POOL, []) == []


def test_nothing_is_computed_for_rois_without_gradient(monkeypatch):
    features, rois, layers = example()
    votes = pooled_votes(features, rois, POOL, layers)
    pooled = []
    monkeypatch.setattr(POOL, "forward", lambda f, r: pooled.append(len(r)) or pool(f, r))
    pool = RoIAveragePool(3, 1 / 16)
    votes[0][[3, 70]].sum().backward()
    assert pooled == [2]


def test_frozen_parts_get_no_gradient():
    features, rois, layers = example()
    layers[0].weight.requires_grad_(False)
    pooled_votes(features.detach(), rois, POOL, layers)[0].sum().backward()
    assert features.grad is None
    assert layers[0].weight.grad is None
    assert layers[0].bias.grad is not None


def test_the_memory_of_a_call_does_not_grow_with_the_rois(monkeypatch):
    features, rois, layers = example()
    sizes = []
    pool = RoIAveragePool(3, 1 / 16)
    monkeypatch.setattr(pooled_product, "CHUNK_BYTES", 9 * 6 * 8 * 16)
    monkeypatch.setattr(POOL, "forward", lambda f, r: sizes.append(len(r)) or pool(f, r))
    pooled_votes(features, rois, POOL, layers)
    assert sizes[-1] == 200  # which bins have cells: one channel
    assert sizes[:-1] == [16] * 12 + [8]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    features, rois, layers = example(torch.float32)
    expected = pooled_votes(features, rois, POOL, layers)[0]
    found = pooled_votes(features.to(dtype), rois, POOL, layers)[0]
    assert found.dtype == dtype
    assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()


def test_compiles_as_one_graph():
    features, rois, layers = example()
    traced = torch.compile(
        lambda f, r: pooled_votes(f, r, POOL, layers), fullgraph=True, backend="aot_eager"
    )
    for one, other in zip(traced(features, rois), by_maps(features, rois, layers), strict=True):
        close(one, other)
