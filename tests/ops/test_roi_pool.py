"""roi_pool: the contract of the RoI operators, torchvision's figures, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
import torchvision
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

from rfcn.ops.reference import roi_pool as reference
from rfcn.ops.roi_pool import RoIPool, roi_pool

OPS = torch.ops.rfcn


def bins(height, width):
    return {"output_size": (height, width)}


class TestRoIPool(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {"3x2": Variant(5, bins(3, 2)), "1x1": Variant(19, bins(1, 1))}
    cases: ClassVar = [
        Case(Variant(19, bins(1, 1)), 9, 14, 2400),
        Case(Variant(5, bins(2, 3)), 1, 1, 2400),
        Case(Variant(4, bins(3, 1)), 7, 5, 3200),
        Case(Variant(3, bins(7, 7)), 13, 18, 2000),
    ]

    def call(self, features, rois, variant):
        return roi_pool(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return self._definition(features, rois, variant)[0]

    def define_gradient(self, gradient, features, rois, variant):
        _, cells = self._definition(features, rois, variant)
        return reference.roi_pool_backward(gradient, cells, rois, tuple(features.shape))

    def _definition(self, features, rois, variant):
        return reference.roi_pool(features, rois, spatial_scale=self.scale, **variant.arguments)

    def opcheck_calls(self, features, rois, variant):
        size = variant.arguments["output_size"]
        yield OPS.roi_pool.default, (features, rois, *size, self.scale, True)
        yield OPS.roi_pool.default, (features.detach(), rois, *size, self.scale, False)
        pooled, cells = OPS.roi_pool(features.detach(), rois, *size, self.scale, True)
        gradient = torch.randn_like(pooled).requires_grad_()
        shape, stride = list(features.shape), list(features.stride())
        yield (
            OPS.roi_pool_backward.default,
            (gradient, cells, rois, self.scale, shape, stride),
        )


@pytest.mark.parametrize("scale", [1.0, 0.0625, 0.1, 1 / 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchvision(backend, make_rois, scale, dtype):
    features = torch.randn(2, 6, 11, 13, dtype=dtype, requires_grad=True)
    for size, seed in (((7, 7), 4), ((3, 5), 5)):
        rois = make_rois(1250, 2, 11 / scale, 13 / scale, seed=seed, dtype=dtype)
        pooled = roi_pool(features, rois, size, scale)
        theirs = torchvision.ops.roi_pool(features, rois, size, scale)
        assert torch.equal(pooled, theirs)
        gradient = torch.randint(-9, 9, pooled.shape).to(dtype)
        (ours,) = torch.autograd.grad(pooled, features, gradient)
        (other,) = torch.autograd.grad(theirs, features, gradient)
        assert torch.equal(ours, other)


def test_by_hand(backend):
    features = torch.arange(16.0).view(1, 1, 4, 4)
    whole = torch.tensor([[0.0, 0, 0, 3, 3]])  # inclusive corners: all four columns and rows
    assert roi_pool(features, whole, 2, 1.0).tolist() == [[[[5, 7], [13, 15]]]]
    # three columns, bins 0..1.5 and 1.5..3, which share column 1; one row
    odd = torch.tensor([[0.0, 0, 0, 2, 0]])
    assert roi_pool(-features, odd, (1, 2), 1.0).tolist() == [[[[0, -1]]]]
    # 0.5 rounds away from zero to 1, -0.5 to -1: columns 1..2, and rows -1..1 cut to 0..1
    half = torch.tensor([[0.0, 0.5, -0.5, 1.5, 0.5]])
    assert roi_pool(features, half, (1, 2), 1.0).tolist() == [[[[5, 6]]]]


def test_nan_is_not_lost(backend):
    features = torch.zeros(1, 1, 2, 4)
    features[0, 0, 0, 1:3] = torch.nan
    features[0, 0, 1, 3] = torch.inf
    features.requires_grad_()
    rois = torch.tensor([[0.0, 0, 0, 3, 1], [0, 0, 0, 0, 1], [0, 3, 0, 3, 1]])
    pooled = roi_pool(features, rois, 1, 1.0).flatten()
    assert pooled[0].isnan()
    assert pooled[1:].tolist() == [0, torch.inf]
    (found,) = torch.autograd.grad(pooled, features, torch.tensor([1.0, 10, 100]))
    assert found.flatten().tolist() == [10, 1, 0, 0, 0, 0, 0, 100]


def test_module_prints_its_numbers():
    assert repr(RoIPool((7, 5), 1 / 16)) == "RoIPool(output_size=(7, 5), spatial_scale=0.0625)"
