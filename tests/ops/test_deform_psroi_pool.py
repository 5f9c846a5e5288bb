"""deform_psroi_pool: the contract of the RoI operators, its offsets, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
from deform_offsets import offsets_of
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

from rfcn.ops.deform_psroi_pool import DeformPSRoIPool, deform_psroi_pool
from rfcn.ops.reference import deform_psroi_pool as reference

SCALE = 1 / 16
OPS = torch.ops.rfcn
FEATURES = torch.randn(2, 8, 5, 6)
ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def variant(k, classes, groups, samples):
    return Variant(classes * k * k, {"k": k, "groups": groups, "samples": samples})


class TestDeformPSRoIPool(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {
        "shared": variant(3, 3, 1, 4),
        "class-wise": variant(2, 4, 4, 3),
    }
    cases: ClassVar = [
        Case(variant(1, 5, None, 4), 9, 14, 3500),
        Case(variant(1, 6, 2, 3), 1, 1, 2500),
        Case(variant(2, 4, 1, 4), 7, 5, 2500),
        Case(variant(2, 3, 3, 2), 5, 12, 1000),
        Case(variant(3, 20, 1, 5), 12, 3, 400),
        Case(variant(7, 2, 2, 4), 13, 18, 50),
        Case(variant(7, 17, None, 4), 20, 30, 100),
    ]

    def split(self, rois, variant):
        numbers = dict(variant.arguments)
        return offsets_of(rois, numbers.pop("groups"), numbers["k"]), numbers

    def call(self, features, rois, variant):
        offsets, numbers = self.split(rois, variant)
        return deform_psroi_pool(features, rois, offsets, spatial_scale=self.scale, **numbers)

    def define(self, features, rois, variant):
        offsets, numbers = self.split(rois, variant)
        sampling = reference.Sampling(spatial_scale=self.scale, **numbers)
        return reference.deform_psroi_pool(features, rois, offsets, sampling)

    def define_gradient(self, gradient, features, rois, variant):
        offsets, numbers = self.split(rois, variant)
        sampling = reference.Sampling(spatial_scale=self.scale, **numbers)
        return reference.deform_psroi_pool_backward(gradient, features, rois, offsets, sampling)[0]

    def opcheck_calls(self, features, rois, variant):
        offsets, numbers = self.split(rois, variant)
        k = numbers["k"]
        maps = features.unflatten(1, (-1, k, k))
        gradient = torch.randn(len(rois), maps.shape[1], k, k, requires_grad=True)
        rest = (self.scale, numbers["samples"], 0.1)
        if offsets is not None:
            offsets.requires_grad_()
            yield (
                OPS.deform_psroi_pool_offsets_backward.default,
                (
                    *(gradient, features.detach().unflatten(1, (-1, k, k)), rois, offsets),
                    *rest,
                ),
            )
        size, stride = list(maps.shape), list(maps.stride())
        backward = OPS.deform_psroi_pool_backward.default
        yield backward, (gradient, rois, offsets, *rest, size, stride)
        for moves in (offsets, None):
            yield OPS.deform_psroi_pool.default, (maps, rois, moves, *rest)


# ------------------------------------------------------------------------------------- by hand


def test_by_hand(backend):
    # One bin of 4 x 4 cells, from -0.5 to 3.5; two samples a side at -0.5 (clamped to 0) and 1.5.
    plane = torch.arange(16.0).view(1, 1, 4, 4)
    whole = torch.tensor([[0.0, 0, 0, 3, 3]])
    pooled = deform_psroi_pool(plane, whole, None, 1, 1.0, samples=2)
    assert pooled.item() == (0 + 1.5 + 6 + 7.5) / 4
    # An offset of 2.5 at a scale of 0.1 moves the bin by a quarter of the RoI, one cell, along x.
    offsets = torch.tensor([2.5, 0.0]).view(1, 1, 2, 1, 1)
    pooled = deform_psroi_pool(plane, whole, offsets, 1, 1.0, samples=2)
    assert pooled.item() == (0.5 + 2.5 + 6.5 + 8.5) / 4
    # Another scale, along y: a half of the RoI, two cells. Samples at 1.5 and 3.5, of which the
    # last is the very border of the map: it counts, and is clamped to row 3.
    offsets = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1)
    pooled = deform_psroi_pool(plane, whole, offsets, 1, 1.0, samples=2, offset_scale=0.5)
    assert pooled.item() == (6 + 7.5 + 12 + 13.5) / 4
    # Beyond the border the row of samples does not count, and the mean is over the others.
    offsets[0, 0, 1] = 1.01
    pooled = deform_psroi_pool(plane, whole, offsets, 1, 1.0, samples=2, offset_scale=0.5)
    assert pooled.item() == pytest.approx(4 * 1.52 + 1.5 / 2, rel=1e-6)


def test_channel_order_is_class_row_column_and_offsets_are_x_y(backend):
    features = torch.zeros(1, 2 * 4, 4, 4)
    features[0, 5] = torch.arange(4.0)  # class 1, bin (0, 1): the value is the column
    features[0, 6] = torch.arange(4.0)[:, None]  # class 1, bin (1, 0): the row
    rois = torch.tensor([[0.0, 0, 0, 3, 3]])
    offsets = torch.zeros(1, 2, 2, 2, 2)
    before = deform_psroi_pool(features, rois, offsets, 2, 1.0)
    offsets[0, 1, 0] = -1  # the other class would not move
    offsets[0, 1, 1] = -2
    moved = before - deform_psroi_pool(features, rois, offsets, 2, 1.0)
    assert moved[0, 0].eq(0).all()
    assert moved[0, 1].tolist() == [[0, pytest.approx(0.4)], [pytest.approx(0.8), 0]]


def test_no_offsets_and_zero_offsets_are_the_same(backend, make_rois):
    features = torch.randn(2, 4 * 9, 9, 12, dtype=torch.float64)
    rois = make_rois(200, 2, 144, 192)
    expected = deform_psroi_pool(features, rois, None, 3, SCALE)
    for groups in (1, 2, 4):
        zeros = torch.zeros(200, groups, 2, 3, 3)
        found = deform_psroi_pool(features, rois, zeros, 3, SCALE)
        assert (found - expected).abs().max() <= 1e-14


def test_groups_take_classes_in_order(backend, make_rois):
    features = torch.randn(1, 6 * 4, 9, 12, dtype=torch.float64)
    rois = make_rois(50, 1, 144, 192)
    offsets = torch.randn(50, 3, 2, 2, 2)
    found = deform_psroi_pool(features, rois, offsets, 2, SCALE)
    each = offsets.repeat_interleave(2, dim=1)
    assert (found - deform_psroi_pool(features, rois, each, 2, SCALE)).abs().max() <= 1e-14
    for group in range(3):
        part = features[:, group * 8 : group * 8 + 8]
        alone = deform_psroi_pool(part, rois, offsets[:, group : group + 1], 2, SCALE)
        assert (found[:, group * 2 : group * 2 + 2] - alone).abs().max() <= 1e-14


# ------------------------------------------------------------------------------- dtypes, bad input


@pytest.mark.parametrize("rois_dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offsets_dtype", [torch.float32, torch.float64])
def test_positions_in_the_wider_dtype(backend, make_rois, rois_dtype, offsets_dtype):
    features = torch.randn(1, 8, 9, 12)
    rois = make_rois(50, 1, 144, 192, dtype=rois_dtype)
    offsets = torch.randn(50, 2, 2, 2, 2, dtype=offsets_dtype, requires_grad=True)
    pooled = deform_psroi_pool(features, rois, offsets, 2, SCALE)
    sampling = reference.Sampling(2, SCALE)
    expected = reference.deform_psroi_pool(features, rois, offsets, sampling)
    assert (pooled - expected).abs().max() <= 1e-5
    pooled.sum().backward()
    assert offsets.grad.dtype == offsets_dtype
    assert rois.grad is None


def test_autocast_keeps_the_offsets(backend):  # O17
    # A shift of 1000.5 * 0.001 sides; in bfloat16 it would be another by 0.4 %, 0.24 cell.
    features = torch.arange(300.0).expand(1, 4, 1, 300).contiguous()
    rois = torch.tensor([[0.0, 0, 0, 959, 15]])
    offsets = torch.tensor([1000.5, 0]).view(1, 1, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = deform_psroi_pool(features, rois, offsets, 1, SCALE, offset_scale=1e-3)
    sampling = reference.Sampling(1, SCALE, offset_scale=1e-3)
    expected = reference.deform_psroi_pool(features, rois, offsets, sampling)
    assert (pooled - expected).abs().max() <= 1e-3


def test_half_precision_gradient_of_offsets(backend, make_rois):  # O12
    rois = make_rois(100, 1, 144, 192)
    wide = torch.randn(1, 12, 9, 12)
    gradient = torch.randn(100, 3, 2, 2)
    for dtype in (torch.float16, torch.bfloat16):
        results = []
        for maps in (wide.to(dtype), wide.to(dtype).float()):
            offsets = offsets_of(rois, 3, 2).requires_grad_()
            pooled = deform_psroi_pool(maps, rois, offsets, 2, SCALE)
            given = gradient.to(dtype).to(maps.dtype)
            results.append(torch.autograd.grad(pooled, offsets, given)[0])
        assert results[0].dtype == torch.float32
        assert (results[0] - results[1]).abs().max() <= 2e-2 * results[1].abs().max()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_offset_that_is_not_finite_gives_nan_in_its_bin(backend, value):
    offsets = torch.zeros(2, 2, 2, 2, 2)
    offsets[1, 0, 1, 0, 1] = value
    pooled = deform_psroi_pool(FEATURES, ROIS, offsets, 2, SCALE)
    expected = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    expected[1, 0, 0, 1] = True
    assert torch.equal(pooled.isnan(), expected)


def test_huge_offset_lies_outside(backend):
    offsets = torch.full((2, 1, 2, 2, 2), 1e37, requires_grad=True)
    features = FEATURES.clone().requires_grad_()
    pooled = deform_psroi_pool(features, ROIS, offsets, 2, SCALE)
    assert not pooled.any()
    pooled.sum().backward()
    assert not features.grad.any()
    assert not offsets.grad.any()


def test_nan_of_a_cell_stays_with_its_samples(backend):
    features = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    features[0, 0, 2, 2] = torch.nan
    # Samples on cells (0, 0), (0, 1), (1, 0), (1, 1) exactly: none has a weight at (2, 2).
    rois = torch.tensor([[0.0, 8, 8, 39, 39], [0, 9, 9, 40, 40]])
    pooled = deform_psroi_pool(features, rois, None, 1, SCALE, samples=2)
    assert pooled[0].item() == 1
    assert pooled[1].isnan().all()


@pytest.mark.parametrize(
    "shape", [(2, 1, 2, 2), (3, 1, 2, 2, 2), (2, 1, 1, 2, 2), (2, 1, 2, 3, 3), (2, 0, 2, 2, 2)]
)
def test_offsets_of_a_wrong_shape(backend, shape):  # O10
    with pytest.raises(ValueError, match=r"offsets: the shape must be .* R = 2, k = 2"):
        deform_psroi_pool(FEATURES, ROIS, torch.zeros(shape), 2, SCALE)


def test_groups_that_do_not_divide_the_classes(backend):
    features = torch.randn(1, 3 * 4, 5, 6)
    with pytest.raises(ValueError, match="2 groups do not divide the 3 classes"):
        deform_psroi_pool(features, ROIS[:1], torch.zeros(1, 2, 2, 2, 2), 2, SCALE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_offsets_of_a_wrong_dtype(backend, dtype):  # O13
    with pytest.raises(ValueError, match="offsets: dtype must be float32 or float64"):
        deform_psroi_pool(FEATURES, ROIS, torch.zeros(2, 1, 2, 2, 2, dtype=dtype), 2, SCALE)


def test_offsets_on_another_device(backend):  # O13
    with pytest.raises(ValueError, match="offsets: must be on cpu, not on meta"):
        deform_psroi_pool(FEATURES, ROIS, torch.zeros(2, 1, 2, 2, 2, device="meta"), 2, SCALE)


@pytest.mark.parametrize("samples", [0, -1, 257])
def test_samples_that_make_no_sense(backend, samples):
    with pytest.raises(ValueError, match=r"samples: must be in 1\.\.256"):
        deform_psroi_pool(FEATURES, ROIS, None, 2, SCALE, samples=samples)


def test_offset_scale_that_is_not_finite(backend):
    with pytest.raises(ValueError, match="offset_scale: must be a finite number"):
        deform_psroi_pool(FEATURES, ROIS, None, 2, SCALE, offset_scale=float("nan"))


def test_the_module_pools_offset_maps_and_takes_the_result(backend, make_rois):
    pool = DeformPSRoIPool(3, SCALE)
    assert repr(pool) == ("DeformPSRoIPool(k=3, spatial_scale=0.0625, samples=4, offset_scale=0.1)")
    rois = make_rois(20, 1, 144, 192)
    offset_maps = torch.randn(1, 2 * 2 * 9, 9, 12, requires_grad=True)
    score_maps = torch.randn(1, 4 * 9, 9, 12, requires_grad=True)
    offsets = pool(offset_maps, rois).unflatten(1, (2, 2))
    pooled = pool(score_maps, rois, offsets)
    assert pooled.shape == (20, 4, 3, 3)
    pooled.sum().backward()
    assert offset_maps.grad.any()
    assert score_maps.grad.any()
