"""roi_align: the contract of the RoI operators, torchvision's figures, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
import torchvision
from roi_op_contract import Case, RoIOpContract, Variant, channels_last
from roi_op_faults import RoIOpFaults

from rfcn.ops.reference import roi_align as reference
from rfcn.ops.roi_align import RoIAlign, roi_align

OPS = torch.ops.rfcn
FEATURES = torch.randn(2, 5, 9, 13)


def variant(channels, size, ratio, aligned):
    arguments = {"output_size": size, "sampling_ratio": ratio, "aligned": aligned}
    return Variant(channels, arguments)


class TestRoIAlign(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {
        "2 x 3, 2 samples": variant(4, (2, 3), 2, True),
        "adaptive, not aligned": variant(3, (3, 2), 0, False),
    }
    cases: ClassVar = [
        Case(variant(19, (1, 1), 2, True), 9, 14, 4000),
        Case(variant(3, (7, 7), 2, True), 12, 17, 3000),
        Case(variant(5, (2, 3), 1, True), 1, 1, 2000),
        Case(variant(70, (3, 2), 3, True), 7, 5, 1500),
        Case(variant(6, (2, 2), 0, True), 9, 14, 10_000),
        Case(variant(6, (2, 2), 2, False), 9, 14, 6000),
        Case(variant(3, (3, 4), 0, False), 12, 3, 4000),
    ]

    def call(self, features, rois, variant):
        return roi_align(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return reference.roi_align(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define_gradient(self, gradient, features, rois, variant):
        _, ratio, aligned = variant.arguments.values()
        shape = tuple(features.shape)
        return reference.roi_align_backward(gradient, rois, self.scale, ratio, aligned, shape)

    def opcheck_calls(self, features, rois, variant):
        size, *sampling = variant.arguments.values()
        numbers = (list(size), self.scale, *sampling)
        yield OPS.roi_align.default, (features, rois, *numbers)
        gradient = torch.randn(len(rois), features.shape[1], *size, requires_grad=True)
        like = list(features.shape), list(features.stride())
        yield OPS.roi_align_backward.default, (gradient, rois, *numbers, *like)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_figures_are_torchvisions(backend, make_rois, aligned, ratio, dtype, tolerance):
    features = FEATURES.to(dtype).requires_grad_()
    rois = make_rois(1500, 2, 144, 208, dtype=dtype)
    if ratio == 0:  # torchvision fails on a reversed RoI there
        rois = rois[(rois[:, 3:] > rois[:, 1:3]).all(dim=1)]
    theirs = torchvision.ops.roi_align(features, rois, (3, 2), 1 / 16, ratio, aligned)
    ours = roi_align(features, rois, (3, 2), 1 / 16, ratio, aligned)
    assert (ours - theirs).abs().max() <= tolerance
    gradient = torch.randn_like(theirs)
    (back,) = torch.autograd.grad(ours, features, gradient)
    (their_back,) = torch.autograd.grad(theirs, features, gradient)
    assert (back - their_back).abs().max() <= tolerance * max(1, their_back.abs().max())


def test_by_hand(backend):
    # The map is a ramp, cell (y, x) = 10 y + x; bilinear samples of a ramp are its values there.
    features = (10.0 * torch.arange(5)[:, None] + torch.arange(6.0))[None, None]
    rois = torch.tensor([[0.0, 1, 1, 5, 3]])
    # Aligned: columns 0.5 .. 4.5, rows 0.5 .. 2.5; bins of 2 x 1, whose means are their centres.
    assert roi_align(features, rois, 2, 1.0).tolist() == [[[[11.5, 13.5], [21.5, 23.5]]]]
    # Not aligned: everything half a cell further, 5.5 more.
    shifted = roi_align(features, rois, 2, 1.0, aligned=False)
    assert shifted.tolist() == [[[[17.0, 19.0], [27.0, 29.0]]]]


def test_outside_counts_zero_in_the_mean(backend):
    features = torch.ones(1, 1, 4, 4)
    # Rows 0.5 .. 3.5 lie on the map. Of four columns -3.5, -2.5, -1.5, -0.5 only the last does: it
    # is no more than one cell beyond the centre of column 0.
    rois = torch.tensor([[0.0, -3.5, 1.0, 0.5, 4.0]])
    assert roi_align(features, rois, 1, 1.0, sampling_ratio=4).item() == 0.25
    # Of the columns 3.75, 4.25, 4.75, 5.25 the first alone: 4 is the end.
    rois = torch.tensor([[0.0, 4.0, 1.0, 6.0, 4.0]])
    assert roi_align(features, rois, 1, 1.0, sampling_ratio=4).item() == 0.25


def test_nan_and_inf_stay_in_their_bins(backend):
    features = torch.ones(1, 3, 4, 8, dtype=torch.float64)
    features[0, 0, 0, 0] = torch.nan
    features[0, 1, 1, 5] = torch.inf
    features[0, 2, 2, 5:7] = torch.tensor([torch.inf, -torch.inf])
    # Two bins whose samples fall on cell centres: columns 0 to 3 and 4 to 7.
    rois = torch.tensor([[0.0, 0, 0, 8, 4]])
    for one in (features, channels_last(features)):
        found = roi_align(one, rois, (1, 2), 1.0, sampling_ratio=4)[0, :, 0].tolist()
        assert str(found) == "[[nan, 1.0], [1.0, inf], [1.0, nan]]"


def test_memory_order_is_that_of_the_features(backend, make_rois):
    rois = make_rois(4, 2, 80, 96)
    assert roi_align(FEATURES, rois, 3, 1 / 16).is_contiguous()
    last = roi_align(channels_last(FEATURES), rois, 3, 1 / 16)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_rois_sampled_adaptively(backend, dtype):
    # 200,000 cells in 7 bins: of 28,572 samples a bin, those on the map are found, not searched.
    features = torch.randn(1, 2, 9, 13, dtype=torch.float64, requires_grad=True)
    for wide in (True, False):
        long, short = ((1, 3), (2, 4)) if wide else ((2, 4), (1, 3))
        rois = torch.zeros(1, 5, dtype=dtype)
        rois[0, [*long]] = torch.tensor([-1e5, 1e5], dtype=dtype)
        rois[0, [*short]] = torch.tensor([2.0, 8.5], dtype=dtype)
        found = roi_align(features, rois, (7, 7), 1.0, sampling_ratio=0)
        expected = reference.roi_align(features, rois, (7, 7), 1.0, 0, True)
        assert (found - expected).abs().max() <= 1e-12
        assert expected.count_nonzero() == 2 * 7
        gradient = torch.randn_like(expected)
        (back,) = torch.autograd.grad(found, features, gradient)
        expected = reference.roi_align_backward(gradient, rois, 1.0, 0, True, features.shape)
        assert (back - expected).abs().max() <= 1e-12
    # Beyond 2**23 samples float32 cannot tell them apart, and the bin counts as outside.
    far = torch.tensor([[0.0, -1e8, -1e8, 1e8, 1e8]], dtype=dtype)
    there = bool(roi_align(features, far, 7, 1.0, sampling_ratio=0).any())
    assert there == (dtype == torch.float64)


def test_adaptive_rois_of_no_or_reversed_length_give_zero(backend):
    rois = torch.tensor([[0.0, 20, 20, 20, 60], [0, 60, 20, 20, 60], [0, 20, 20, 60, 60]])
    found = roi_align(FEATURES.abs() + 1, rois, 2, 1 / 16, sampling_ratio=0)
    assert not found[:2].any()
    assert found[2].all()


def test_backward_refuses_the_same(compiled):
    gradient, numbers = torch.randn(2, 5, 2, 2), ([2, 2], 1 / 16, 2, True)
    like = ([2, 5, 9, 13], [585, 117, 13, 1])
    rois = torch.tensor([[0.0, 0, 0, 9, 9], [7.0, 0, 0, 9, 9]])
    with pytest.raises(RuntimeError, match="rois: row 1"):
        OPS.roi_align_backward(gradient, rois, *numbers, *like)
    with pytest.raises(RuntimeError, match="shape"):
        OPS.roi_align_backward(gradient[:1], rois[:1].repeat(2, 1), *numbers, *like)


@pytest.mark.parametrize("ratio", [-1, 1025])
def test_ratios_that_make_no_sense(backend, ratio):
    with pytest.raises(ValueError, match=r"sampling_ratio: must be in 1\.\.1024, or 0"):
        roi_align(FEATURES, torch.zeros(1, 5), 2, 1 / 16, sampling_ratio=ratio)


@pytest.mark.parametrize("size", [0, (2, 0), (1, 2, 3)])
def test_sizes_that_make_no_sense(backend, size):
    with pytest.raises(ValueError, match="output_size: must be one or two whole numbers"):
        roi_align(FEATURES, torch.zeros(1, 5), size, 1 / 16)


def test_module_prints_its_numbers():
    printed = "RoIAlign(output_size=7, spatial_scale=0.0625, sampling_ratio=2, aligned=True)"
    assert repr(RoIAlign(7, 1 / 16)) == printed


def test_module_is_the_operator(make_rois):
    rois = make_rois(4, 2, 80, 96)
    module = RoIAlign((3, 2), 1 / 16, sampling_ratio=0, aligned=False)
    assert torch.equal(module(FEATURES, rois), roi_align(FEATURES, rois, (3, 2), 1 / 16, 0, False))
