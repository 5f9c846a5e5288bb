"""psroi_vote: the contract of the RoI operators, and that it is the mean of psroi_pool."""

from typing import ClassVar

import pytest
import torch
from roi_op_contract import Case, RoIOpContract, Variant, channels_last
from roi_op_faults import RoIOpFaults

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.psroi_vote import PSRoIVote, psroi_vote
from rfcn.ops.reference import psroi_vote as reference

SCALE = 1 / 16
OPS = torch.ops.rfcn


def by_bin(features, k):
    """The same maps with the classes of a cell side by side in memory, as [N, C, k, k, H, W]."""
    maps = features.unflatten(1, (-1, k, k))
    return maps.permute(0, 4, 5, 2, 3, 1).contiguous().permute(0, 5, 3, 4, 1, 2)


def like(semantics, k):
    return {"k": k, "semantics": semantics}


class TestPSRoIVote(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {
        "k3-msra": Variant(27, like("msra", 3)),
        "k1-torchvision": Variant(5, like("torchvision", 1)),
    }
    # 10,000 RoIs a semantics.
    cases: ClassVar = [
        Case(Variant(channels, like(semantics, k)), *sizes)
        for semantics in SEMANTICS
        for channels, k, *sizes in (
            (19, 1, 9, 14, 4000),
            (12, 2, 1, 1, 1200),
            (27, 3, 7, 5, 4000),
            (147, 7, 13, 18, 800),
        )
    ]

    def call(self, features, rois, variant):
        return psroi_vote(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return reference.psroi_vote(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define_gradient(self, gradient, features, rois, variant):
        return reference.psroi_vote_backward(
            gradient,
            rois,
            spatial_scale=self.scale,
            shape=tuple(features.shape),
            **variant.arguments,
        )

    def opcheck_calls(self, features, rois, variant):
        k = variant.arguments["k"]
        for maps in (features.unflatten(1, (-1, k, k)), by_bin(features.detach(), k)):
            yield OPS.psroi_vote.default, (maps, rois, self.scale, 0)
            gradient = torch.randn(len(rois), maps.shape[1], requires_grad=True)
            size, stride = list(maps.shape), list(maps.stride())
            yield OPS.psroi_vote_backward.default, (gradient, rois, self.scale, 0, size, stride)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_is_the_mean_of_the_bins(backend, make_rois, semantics):
    features = torch.randn(2, 4 * 9, 11, 13, dtype=torch.float64, requires_grad=True)
    rois = make_rois(300, 2, 176, 208, seed=4)
    gradient = torch.randn(300, 4, dtype=torch.float64)
    expected = psroi_pool(features, rois, 3, SCALE, semantics).mean((2, 3))
    (expected_back,) = torch.autograd.grad(expected, features, gradient)
    plain = features.detach()
    for maps in (plain, channels_last(plain), by_bin(plain, 3)):
        leaf = maps.detach().requires_grad_()
        votes = psroi_vote(leaf, rois, 3, SCALE, semantics)
        assert (votes - expected).abs().max() <= 1e-12
        (back,) = torch.autograd.grad(votes, leaf, gradient)
        assert (back.flatten(1, -3) - expected_back).abs().max() <= 1e-12


def test_an_empty_bin_counts_0_by_hand(backend):
    features = torch.ones(1, 4, 2, 2)
    # Columns -2..1: the left bins lie outside. Rows 0..1: both halves are inside.
    rois = torch.tensor([[0.0, -2, 0, 1, 1]])
    assert psroi_vote(features, rois, 2, 1.0).tolist() == [[0.5]]
    nan = features.clone()
    nan[0, 0] = torch.nan  # the map of an empty bin
    assert psroi_vote(nan, rois, 2, 1.0).tolist() == [[0.5]]
    nan[0, 1, 0, 0] = torch.nan
    assert psroi_vote(nan, rois, 2, 1.0).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bins_are_not_rounded_to_half_precision(backend, make_rois, dtype):  # O12
    features = torch.rand(1, 3 * 49, 20, 20).to(dtype) + 1
    rois = torch.tensor([[0.0, 0, 0, 200, 300]] * 3)
    votes = psroi_vote(features, rois, 7, SCALE)
    exact = reference.psroi_vote(features, rois, 7, SCALE)
    assert torch.equal(votes, exact.to(dtype))


@pytest.mark.parametrize("classes", [1, 2, 3, 5, 8, 9, 16, 17, 31, 33, 64, 65, 81, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_any_number_of_classes_side_by_side(compiled, make_rois, classes, dtype):
    plain = torch.randn(1, classes * 4, 6, 7).to(dtype)
    rois = make_rois(60, 1, 96, 112, seed=classes)
    gradients = torch.randn(60, classes, 2, 2).to(dtype), torch.randn(60, classes).to(dtype)
    for op, gradient in zip((psroi_pool, psroi_vote), gradients, strict=True):
        found = []
        for maps in (plain.double(), by_bin(plain, 2)):
            leaf = maps.detach().requires_grad_()
            result = op(leaf, rois, 2, SCALE)
            (back,) = torch.autograd.grad(result, leaf, gradient.to(result.dtype))
            found.append((result.double(), back.flatten(1, -3).double()))
        for a, b in zip(*found, strict=True):
            assert (a - b).abs().max() <= 2 * torch.finfo(dtype).eps * a.abs().max()


def every_number(dtype, classes):
    """All 65,536 bit patterns of a dtype of 16 bits, as maps by bin with RoIs of one cell."""
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    maps = numbers.view(1, 1, 1, 256, 256 // classes, classes).permute(0, 5, 1, 2, 3, 4)
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0 // classes), indexing="ij")
    rois = torch.stack([0 * x, x, y, x, y], dim=-1).flatten(0, 1)
    return numbers.view(-1, classes), maps, rois


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 8, 64])
def test_every_number_of_half_precision_comes_through(compiled, dtype, classes):  # O12
    numbers, maps, rois = every_number(dtype, classes)
    for result in (psroi_vote(maps, rois, 1, 1.0), psroi_pool(maps, rois, 1, 1.0).flatten(1)):
        assert torch.equal(result.isnan(), numbers.isnan())
        # As bits, which tell -0 from 0; a sum that starts from 0 makes -0 of none.
        assert torch.equal((0 + numbers).nan_to_num(), result.nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 16])
def test_half_precision_is_rounded_to_the_nearest(compiled, dtype, classes):  # O12
    _, maps, rois = every_number(dtype, classes)
    rows = (rois[:, 2] // 2 * 2)[:, None] + torch.tensor([0, 1])  # two cells, one above the other
    rois[:, [2, 4]] = rows
    wide = maps.float()[0, :, 0, 0].permute(1, 2, 0)
    expected = ((wide[0::2] + wide[1::2]) / 2).to(dtype).repeat_interleave(2, 0).view(-1, classes)
    votes = psroi_vote(maps, rois, 1, 1.0)
    assert torch.equal(votes.isnan(), expected.isnan())
    assert torch.equal(votes.nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_are_rounded_to_the_nearest(compiled, dtype):  # O12
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    given = torch.stack([numbers, numbers[torch.randperm(2**16)]])  # of two RoIs on one cell
    shape = [1, 2**16, 1, 1, 1, 1]
    rois = torch.zeros(2, 5)
    back = OPS.psroi_vote_backward(given, rois, 1.0, 0, shape, [2**16, 1, 2**16, 2**16, 1, 1])
    expected = (0 + given[0].float() + given[1].float()).to(dtype)
    assert expected.isinf().any()
    assert torch.equal(back.flatten().isnan(), expected.isnan())
    assert torch.equal(back.flatten().nan_to_num(), expected.nan_to_num())


def test_backward_refuses_the_same(compiled):
    rois = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])
    gradient = torch.randn(2, 2)
    size, stride = [2, 2, 2, 2, 5, 6], [240, 120, 60, 30, 6, 1]
    with pytest.raises(RuntimeError, match="rois: row 0"):
        OPS.psroi_vote_backward(gradient, rois + 9, 1 / 16, 0, size, stride)
    with pytest.raises(RuntimeError, match="shape"):
        OPS.psroi_vote_backward(gradient[:1], rois, 1 / 16, 0, size, stride)
    with pytest.raises(RuntimeError, match=r"semantics must be .*not -1"):
        OPS.psroi_vote_backward(gradient, rois, 1 / 16, -1, size, stride)


def test_module_prints_its_numbers():
    assert repr(PSRoIVote(7, 1 / 16, "paper")) == (
        "PSRoIVote(k=7, spatial_scale=0.0625, semantics='paper')"
    )
