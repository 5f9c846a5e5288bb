"""psroi_pool: the contract of the RoI operators, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
import torchvision
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.psroi_pool import PSRoIPool, psroi_pool
from rfcn.ops.reference import psroi_pool as reference

SCALE = 1 / 16
OPS = torch.ops.rfcn
FEATURES = torch.randn(2, 8, 5, 6)
ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def by_bin(features, k):
    """The same maps with the classes of a cell side by side in memory, as [N, C, k, k, H, W]."""
    maps = features.unflatten(1, (-1, k, k))
    return maps.permute(0, 4, 5, 2, 3, 1).contiguous().permute(0, 5, 3, 4, 1, 2)


def like(semantics, k):
    return {"k": k, "semantics": semantics}


class TestPSRoIPool(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {
        "k3-msra": Variant(27, like("msra", 3)),
        "k1-torchvision": Variant(5, like("torchvision", 1)),
        "k2-paper": Variant(12, like("paper", 2)),
    }
    # 10,000 RoIs a semantics.
    cases: ClassVar = [
        Case(Variant(19, like("msra", 1)), 9, 14, 2400),
        Case(Variant(20, like("msra", 2)), 1, 1, 1200),
        Case(Variant(36, like("msra", 3)), 7, 5, 3200),
        Case(Variant(50, like("msra", 5)), 12, 3, 1600),
        Case(Variant(147, like("msra", 7)), 13, 18, 1600),
        *(
            Case(Variant(channels, like(semantics, k)), *sizes)
            for semantics in ("paper", "torchvision")
            for channels, k, *sizes in (
                (8, 2, 7, 9, 5000),
                (18, 3, 5, 4, 4000),
                (49, 7, 13, 8, 1000),
            )
        ),
    ]

    def call(self, features, rois, variant):
        return psroi_pool(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return reference.psroi_pool(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define_gradient(self, gradient, features, rois, variant):
        return reference.psroi_pool_backward(
            gradient,
            rois,
            spatial_scale=self.scale,
            shape=tuple(features.shape),
            **variant.arguments,
        )

    def opcheck_calls(self, features, rois, variant):
        k = variant.arguments["k"]
        for maps in (features.unflatten(1, (-1, k, k)), by_bin(features.detach(), k)):
            yield OPS.psroi_pool.default, (maps, rois, self.scale, 0)
            gradient = torch.randn(len(rois), maps.shape[1], k, k, requires_grad=True)
            size, stride = list(maps.shape), list(maps.stride())
            yield OPS.psroi_pool_backward.default, (gradient, rois, self.scale, 0, size, stride)


@pytest.mark.parametrize("scale", [1.0, 0.0625, 0.1, 1 / 3])
@pytest.mark.parametrize("roi_dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_edges_that_fall_on_whole_numbers(backend, make_rois, scale, roi_dtype, semantics):
    features = torch.randn(1, 2 * 9, 11, 13, dtype=torch.float64)
    rois = make_rois(300, 1, 11 / scale, 13 / scale, seed=4, dtype=roi_dtype).round()
    expected = reference.psroi_pool(features, rois, 3, scale, semantics)
    assert (psroi_pool(features, rois, 3, scale, semantics) - expected).abs().max() <= 1e-12


def test_by_hand(backend):
    # Columns 0..3 of a 4 x 4 map hold 0, 1, 2, 3; channel (i, j) adds 10 i + 100 j.
    plane = torch.arange(4.0).expand(4, 4)
    offsets = torch.tensor([0.0, 100.0, 10.0, 110.0])
    features = (plane + offsets[:, None, None])[None]
    whole = torch.tensor([[0.0, 0, 0, 3, 3]])  # inclusive corners: all four columns and rows
    assert psroi_pool(features, whole, 2, 1.0).tolist() == [[[[0.5, 102.5], [10.5, 112.5]]]]
    # Width 3: bins 0..1.5 and 1.5..3 share column 1.
    odd = torch.tensor([[0.0, 0, 0, 2, 2]])
    assert psroi_pool(features, odd, 2, 1.0).tolist() == [[[[0.5, 101.5], [10.5, 111.5]]]]
    # 0.5 rounds away from zero to 1, -0.5 to -1: columns 1..2, and rows -1..1 cut to 0..1.
    half = torch.tensor([[0.0, 0.5, -0.5, 1.5, 0.5]])
    assert psroi_pool(features, half, 2, 1.0)[0, 0].tolist() == [[1.0, 102.0], [11.0, 112.0]]


def test_three_semantics_by_hand(backend):
    # Columns 0..7 hold 0..7. Inclusive columns 3..9 of a picture at half its size.
    features = torch.arange(8.0).expand(1, 2, 1, 8)
    maps = features[:, :, None, None].expand(1, 2, 2, 2, 1, 8)
    roi = torch.tensor([[0.0, 3, 0, 9, 1]])
    # msra: 1.5 .. 5, bins of 1.75: columns 1..3 and 3..4
    assert psroi_pool(maps, roi, 2, 0.5, "msra")[0, 0, 0].tolist() == [2.0, 3.5]
    # paper: 2 .. 5, bins of 1.5: columns 2..3 and 3..4
    assert psroi_pool(maps, roi, 2, 0.5, "paper")[0, 0, 0].tolist() == [2.5, 3.5]
    # torchvision: 1.5 and 4.5 are rounded to 2 .. 5: the same here, since 9 is not inclusive
    assert psroi_pool(maps, roi, 2, 0.5, "torchvision")[0, 0, 0].tolist() == [2.5, 3.5]
    # Without the + 1 the RoI 3..8 ends at 4: columns 2 and 3; with it at 4.5, rounded to 5.
    roi[0, 3] = 8
    assert psroi_pool(maps, roi, 2, 0.5, "torchvision")[0, 0, 0].tolist() == [2.0, 3.0]
    assert psroi_pool(maps, roi, 2, 0.5, "paper")[0, 0, 0].tolist() == [2.5, 3.5]


@pytest.fixture(scope="module")
def many(make_rois):
    """Maps, 10,000 RoIs and what torchvision makes of them, forward and backward."""
    features = torch.randn(1, 18, 17, 23, dtype=torch.float64, requires_grad=True)
    rois = make_rois(10_000, 1, 17 * 16, 23 * 16, seed=9, dtype=torch.float64)
    theirs = torchvision.ops.ps_roi_pool(features, rois, 3, SCALE)
    gradient = torch.randn_like(theirs)
    (theirs_back,) = torch.autograd.grad(theirs, features, gradient)
    return features, rois, theirs.detach(), gradient, theirs_back


def test_equals_torchvision_away_from_its_border(backend, many):
    features, rois, theirs, _, _ = many
    last = torch.tensor([22, 16], dtype=torch.float64)  # the row and column it never reads
    inside = (rois[:, 3:] * SCALE).round().maximum((rois[:, 1:3] * SCALE).round() + 1) <= last
    inside = inside.all(dim=1)
    pooled = psroi_pool(features.detach(), rois, 3, SCALE, "torchvision")
    assert inside.sum() > 4000
    assert (pooled - theirs)[inside].abs().max() <= 1e-12


def test_torchvision_forgets_the_last_row_and_column(backend, many):
    """Its forward cuts bins to [0, height - 1], its backward to [0, height]: the forward is that of
    a map without its last row and column, and the gradient that of another function."""
    features, rois, theirs, gradient, theirs_back = many
    shorter = features.detach()[:, :, :-1, :-1]
    pooled = psroi_pool(shorter, rois, 3, SCALE, "torchvision")
    assert (pooled - theirs).abs().max() <= 1e-12
    ours = psroi_pool(features, rois, 3, SCALE, "torchvision")
    assert (ours - theirs).abs().max() > 0.1
    (back,) = torch.autograd.grad(ours, features, gradient)
    assert (back - theirs_back).abs().max() <= 1e-10
    # A RoI inside the last cell of a map of ones:
    ones, last = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 50, 50, 63, 63]])
    assert torchvision.ops.ps_roi_pool(ones, last, 1, SCALE).item() == 0
    assert psroi_pool(ones, last, 1, SCALE, "torchvision").item() == 1


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("corner", [1e30, 3e38])
def test_huge_sides_are_finite_in_all_semantics(backend, semantics, corner):  # O6
    rois = torch.tensor([[0.0, -corner, -corner, corner, corner], [0.0, corner, 0, -corner, 9]])
    features = torch.randn(1, 8, 5, 6).requires_grad_()
    pooled = psroi_pool(features, rois, 2, SCALE, semantics)
    pooled.sum().backward()
    assert pooled.isfinite().all()
    assert features.grad.isfinite().all()


def test_unknown_semantics(backend):
    with pytest.raises(ValueError, match="must be msra, paper or torchvision, not 'caffe'"):
        psroi_pool(FEATURES, ROIS, 2, 1 / 16, "caffe")


def test_channel_order_is_class_row_column(backend):
    features = torch.arange(2 * 9.0).view(1, 18, 1, 1).expand(1, 18, 6, 6)
    pooled = psroi_pool(features, torch.tensor([[0.0, 0, 0, 5, 5]]), 3, 1.0)
    assert torch.equal(pooled.flatten(), torch.arange(18.0))


def test_nan_and_inf_stay_in_their_bins(backend):
    features = torch.ones(1, 8, 4, 4, dtype=torch.float64)
    features[0, 0, 0, 0] = torch.nan
    features[0, 5, 1, 3] = torch.inf
    features[0, 6, 2:, 0] = torch.tensor([torch.inf, -torch.inf])
    rois = torch.tensor([[0.0, 0, 0, 3, 3], [0, 2, 2, 3, 3]])
    expected = torch.ones(2, 2, 2, 2, dtype=torch.float64)
    expected[0, 0, 0, 0] = torch.nan
    expected[0, 1, 0, 1] = torch.inf
    expected[0, 1, 1, 0] = torch.nan
    assert torch.equal(psroi_pool(features, rois, 2, 1.0).isnan(), expected.isnan())
    torch.testing.assert_close(psroi_pool(features, rois, 2, 1.0), expected, equal_nan=True)


def test_output_lies_by_bin(backend, make_rois):
    pooled = psroi_pool(torch.randn(1, 27, 5, 6), make_rois(4, 1, 80, 96), 3, SCALE)
    assert pooled.shape == (4, 3, 3, 3)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_module_prints_its_numbers():
    assert repr(PSRoIPool(7, 1 / 16)) == ("PSRoIPool(k=7, spatial_scale=0.0625, semantics='msra')")


def test_backward_refuses_the_same(compiled):
    gradient = torch.randn(2, 2, 2, 2)
    size, stride = [2, 2, 2, 2, 5, 6], [240, 120, 60, 30, 6, 1]
    with pytest.raises(RuntimeError, match="rois: row 0"):
        torch.ops.rfcn.psroi_pool_backward(gradient, ROIS + 9, 1 / 16, 0, size, stride)
    with pytest.raises(RuntimeError, match="shape"):
        torch.ops.rfcn.psroi_pool_backward(gradient[:1], ROIS, 1 / 16, 0, size, stride)
    with pytest.raises(RuntimeError, match=r"semantics must be .*not 3"):
        torch.ops.rfcn.psroi_pool_backward(gradient, ROIS, 1 / 16, 3, size, stride)


def test_channels_must_be_a_multiple(backend):  # O10
    with pytest.raises(ValueError, match="8 channels are not a multiple of k\\*k = 9"):
        psroi_pool(FEATURES, ROIS, 3, 1 / 16)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(backend, k):
    with pytest.raises(ValueError, match="k: must be at least 1"):
        psroi_pool(FEATURES, ROIS, k, 1 / 16)
