"""psroi_pool: the contract of the RoI operators, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

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


class TestPSRoIPool(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {"k3": Variant(27, {"k": 3}), "k1": Variant(5, {"k": 1})}
    cases: ClassVar = [
        Case(Variant(19, {"k": 1}), 9, 14, 2400),
        Case(Variant(20, {"k": 2}), 1, 1, 1200),
        Case(Variant(36, {"k": 3}), 7, 5, 3200),
        Case(Variant(50, {"k": 5}), 12, 3, 1600),
        Case(Variant(147, {"k": 7}), 13, 18, 1600),
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
            yield OPS.psroi_pool.default, (maps, rois, self.scale)
            gradient = torch.randn(len(rois), maps.shape[1], k, k, requires_grad=True)
            size, stride = list(maps.shape), list(maps.stride())
            yield OPS.psroi_pool_backward.default, (gradient, rois, self.scale, size, stride)


@pytest.mark.parametrize("scale", [1.0, 0.0625, 0.1, 1 / 3])
@pytest.mark.parametrize("roi_dtype", [torch.float32, torch.float64])
def test_edges_that_fall_on_whole_numbers(backend, make_rois, scale, roi_dtype):
    features = torch.randn(1, 2 * 9, 11, 13, dtype=torch.float64)
    rois = make_rois(300, 1, 11 / scale, 13 / scale, seed=4, dtype=roi_dtype).round()
    expected = reference.psroi_pool(features, rois, 3, scale)
    assert (psroi_pool(features, rois, 3, scale) - expected).abs().max() <= 1e-12


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
    assert repr(PSRoIPool(7, 1 / 16)) == "PSRoIPool(k=7, spatial_scale=0.0625)"


def test_backward_refuses_the_same(compiled):
    gradient = torch.randn(2, 2, 2, 2)
    size, stride = [2, 2, 2, 2, 5, 6], [240, 120, 60, 30, 6, 1]
    with pytest.raises(RuntimeError, match="rois: row 0"):
        torch.ops.rfcn.psroi_pool_backward(gradient, ROIS + 9, 1 / 16, size, stride)
    with pytest.raises(RuntimeError, match="shape"):
        torch.ops.rfcn.psroi_pool_backward(gradient[:1], ROIS, 1 / 16, size, stride)


def test_channels_must_be_a_multiple(backend):  # O10
    with pytest.raises(ValueError, match="8 channels are not a multiple of k\\*k = 9"):
        psroi_pool(FEATURES, ROIS, 3, 1 / 16)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(backend, k):
    with pytest.raises(ValueError, match="k: must be at least 1"):
        psroi_pool(FEATURES, ROIS, k, 1 / 16)
