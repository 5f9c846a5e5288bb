"""roi_average_pool: the contract of every RoI operator, and what only it promises."""

from typing import ClassVar

import pytest
import torch
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.reference import roi_average_pool as reference
from rfcn.ops.roi_average_pool import RoIAveragePool, roi_average_pool


def bins(k, channels, semantics="msra"):
    return Variant(channels, {"k": k, "semantics": semantics})


class TestRoIAveragePool(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {"k3-msra": bins(3, 5), "k2-paper": bins(2, 19, "paper")}
    # 10,000 RoIs a semantics.
    cases: ClassVar = [
        Case(bins(1, 19), 9, 14, 2400),
        Case(bins(2, 5), 1, 1, 1200),
        Case(bins(3, 4), 7, 5, 3200),
        Case(bins(5, 2), 12, 3, 1600),
        Case(bins(7, 3), 13, 18, 1600),
        *(
            Case(bins(k, channels, semantics), *sizes)
            for semantics in ("paper", "torchvision")
            for k, channels, *sizes in (
                (2, 2, 7, 9, 6000),
                (3, 65, 5, 4, 2000),
                (7, 1, 13, 8, 2000),
            )
        ),
    ]

    def call(self, features, rois, variant):
        return roi_average_pool(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return reference.roi_average_pool(
            features, rois, spatial_scale=self.scale, **variant.arguments
        )

    def define_gradient(self, gradient, features, rois, variant):
        return reference.roi_average_pool_backward(
            gradient,
            rois,
            spatial_scale=self.scale,
            shape=tuple(features.shape),
            **variant.arguments,
        )

    def opcheck_calls(self, features, rois, variant):
        k = variant.arguments["k"]
        ops = torch.ops.rfcn
        yield ops.roi_average_pool.default, (features, rois, k, self.scale, 0)
        gradient = torch.randn(len(rois), features.shape[1], k, k, requires_grad=True)
        shape = list(features.shape), list(features.stride())
        yield ops.roi_average_pool_backward.default, (gradient, rois, k, self.scale, 0, *shape)


def test_by_hand(backend):
    # A 4 x 4 map that holds its column, and one that holds ten times its row.
    column = torch.arange(4.0).expand(4, 4)
    features = torch.stack([column, 10 * column.t()])[None]
    whole = torch.tensor([[0.0, 0, 0, 3, 3]])  # inclusive corners: all four columns and rows
    expected = [[[[0.5, 2.5], [0.5, 2.5]], [[5.0, 5.0], [25.0, 25.0]]]]
    assert roi_average_pool(features, whole, 2, 1.0).tolist() == expected
    # Width 3: bins 0..1.5 and 1.5..3 share column 1.
    odd = torch.tensor([[0.0, 0, 0, 2, 2]])
    assert roi_average_pool(features, odd, 2, 1.0)[0, 0].tolist() == [[0.5, 1.5], [0.5, 1.5]]


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_equals_psroi_pool_of_maps_that_every_bin_shares(backend, make_rois, semantics):
    features = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    rois = make_rois(300, 2, 112, 144)
    shared = features[:, :, None, None].expand(-1, -1, 3, 3, -1, -1)
    expected = psroi_pool(shared, rois, 3, 1 / 16, semantics)
    found = roi_average_pool(features, rois, 3, 1 / 16, semantics)
    assert (found - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_result_lies_as_a_matrix_product_reads_it(backend, make_rois, order):
    features = torch.randn(1, 5, 6, 8).contiguous(memory_format=order)
    pooled = roi_average_pool(features, make_rois(9, 1, 96, 128), 3, 1 / 16)
    assert pooled.shape == (9, 5, 3, 3)
    assert pooled.permute(0, 2, 3, 1).is_contiguous()


def test_nan_and_inf_stay_in_their_bins_and_channels(backend):
    features = torch.ones(1, 2, 4, 4, dtype=torch.float64)
    features[0, 0, 0, 0] = torch.nan
    features[0, 1, 3, 3] = torch.inf
    pooled = roi_average_pool(features, torch.tensor([[0.0, 0, 0, 3, 3]]), 2, 1.0)
    expected = torch.ones(1, 2, 2, 2, dtype=torch.float64)
    expected[0, 0, 0, 0] = torch.nan
    expected[0, 1, 1, 1] = torch.inf
    torch.testing.assert_close(pooled, expected, equal_nan=True)


def test_k_must_be_positive(backend):
    with pytest.raises(ValueError, match="k: must be at least 1, not 0"):
        roi_average_pool(torch.zeros(1, 4, 2, 2), torch.zeros(1, 5), 0, 1.0)


def test_semantics_that_nobody_knows(backend):
    with pytest.raises(ValueError, match="semantics: must be"):
        roi_average_pool(torch.zeros(1, 4, 2, 2), torch.zeros(1, 5), 1, 1.0, "caffe")


def test_module_keeps_and_prints_its_numbers(make_rois):
    pool, rois = RoIAveragePool(7, 1 / 16, "paper"), make_rois(9, 1, 96, 128)
    assert repr(pool) == "RoIAveragePool(k=7, spatial_scale=0.0625, semantics='paper')"
    features = torch.randn(1, 3, 6, 8)
    assert torch.equal(pool(features, rois), roi_average_pool(features, rois, 7, 1 / 16, "paper"))
