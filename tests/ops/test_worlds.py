"""The worlds around all operators: PyTorch's deterministic mode, its compiler, its vmap."""

import contextlib

import pytest
import torch
from crash_program import each_variant
from test_nms import random_boxes

from rfcn.ops.nms import nms
from rfcn.ops.psroi_pool import PSRoIPool, psroi_pool

CALLS = [
    pytest.param(subject, variant, id=f"{op}-{'-'.join(map(str, variant.arguments.values()))}")
    for op, subject, variant in each_variant()
]


@contextlib.contextmanager
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def forth_and_back(subject, variant, make_rois):
    features, rois = subject.inputs(make_rois, variant, count=120, dtype=torch.float32)
    features.requires_grad_()
    found = subject.call(features, rois, variant)
    gradient = torch.linspace(-1, 1, found.numel()).view(found.shape)
    return found, *torch.autograd.grad(found, features, gradient)


@pytest.mark.parametrize(("subject", "kind"), CALLS)
def test_deterministic_mode_has_no_objection_and_changes_no_bit(
    backend, make_rois, subject, kind
):  # O20
    expected = forth_and_back(subject, kind, make_rois)
    with deterministic_algorithms():
        found = forth_and_back(subject, kind, make_rois)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_nms_under_deterministic_mode(backend):  # O20
    boxes, scores = random_boxes(200)
    expected = nms(boxes, scores, 0.5)
    with deterministic_algorithms():
        assert torch.equal(nms(boxes, scores, 0.5), expected)


def test_inductor_compiles_what_surrounds_an_operator(compiled, make_rois, monkeypatch):  # O17
    # The other tests compile to a graph only; this one runs the generated C++ around it.
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor, "compile_threads", 1)
    monkeypatch.setattr(inductor, "cpp_cache_precompile_headers", False)
    pool = PSRoIPool(3, 1 / 16)

    def vote(maps, rois):
        return pool(maps.relu(), rois).mean((2, 3)).softmax(1)

    features, rois = torch.randn(2, 18, 5, 6, requires_grad=True), make_rois(9, 2, 80, 96)
    expected = vote(features, rois)
    found = torch.compile(vote, fullgraph=True)(features, rois)
    assert (found - expected).abs().max() <= 1e-6
    (a,) = torch.autograd.grad(found[:, 0].sum(), features)
    (b,) = torch.autograd.grad(expected[:, 0].sum(), features)
    assert (a - b).abs().max() <= 1e-6


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_over_maps(compiled, make_rois):  # O17
    several, rois = torch.randn(3, 2, 18, 5, 6), make_rois(9, 2, 80, 96)
    found = torch.vmap(lambda maps: psroi_pool(maps, rois, 3, 1 / 16))(several)
    expected = torch.stack([psroi_pool(maps, rois, 3, 1 / 16) for maps in several])
    assert torch.equal(found, expected)
