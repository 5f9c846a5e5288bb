"""psroi_align: the contract of the RoI operators, torchvision's figures, and numbers by hand."""

from typing import ClassVar

import pytest
import torch
import torchvision
from roi_op_contract import Case, RoIOpContract, Variant
from roi_op_faults import RoIOpFaults

from rfcn.ops.psroi_align import PSRoIAlign, psroi_align
from rfcn.ops.reference import psroi_align as reference

OPS = torch.ops.rfcn
FEATURES = torch.randn(2, 36, 9, 13)


def variant(channels, k, ratio):
    return Variant(channels, {"k": k, "sampling_ratio": ratio})


def by_bin(features, k):
    """The same maps with the classes of a cell side by side in memory, as [N, C, k, k, H, W]."""
    maps = features.unflatten(1, (-1, k, k))
    return maps.permute(0, 4, 5, 2, 3, 1).contiguous().permute(0, 5, 3, 4, 1, 2)


class TestPSRoIAlign(RoIOpContract, RoIOpFaults):
    variants: ClassVar = {"k2, 2 samples": variant(8, 2, 2), "k1, adaptive": variant(3, 1, 0)}
    cases: ClassVar = [
        Case(variant(19, 1, 2), 9, 14, 4000),
        Case(variant(147, 7, 2), 12, 17, 2000),
        Case(variant(20, 2, 1), 1, 1, 2000),
        Case(variant(36, 3, 3), 7, 5, 2000),
        Case(variant(8, 2, 0), 9, 14, 6000),
        Case(variant(27, 3, 0), 12, 3, 4000),
    ]

    def call(self, features, rois, variant):
        return psroi_align(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define(self, features, rois, variant):
        return reference.psroi_align(features, rois, spatial_scale=self.scale, **variant.arguments)

    def define_gradient(self, gradient, features, rois, variant):
        ratio = variant.arguments["sampling_ratio"]
        shape = tuple(features.shape)
        return reference.psroi_align_backward(gradient, rois, self.scale, ratio, shape)

    def opcheck_calls(self, features, rois, variant):
        k, ratio = variant.arguments.values()
        for maps in (features.unflatten(1, (-1, k, k)), by_bin(features.detach(), k)):
            yield OPS.psroi_align.default, (maps, rois, self.scale, ratio)
            gradient = torch.randn(len(rois), maps.shape[1], k, k, requires_grad=True)
            like = list(maps.shape), list(maps.stride())
            yield OPS.psroi_align_backward.default, (gradient, rois, self.scale, ratio, *like)


@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_figures_are_torchvisions(backend, make_rois, ratio, dtype, tolerance):
    features = FEATURES.to(dtype).requires_grad_()
    rois = make_rois(2500, 2, 144, 208, dtype=dtype)
    if ratio == 0:  # torchvision gives NaN for a RoI of no length there
        rois = rois[(rois[:, 3:] > rois[:, 1:3]).all(dim=1)]
    theirs = torchvision.ops.ps_roi_align(features, rois, 3, 1 / 16, ratio)
    ours = psroi_align(features, rois, 3, 1 / 16, ratio)
    assert (ours - theirs).abs().max() <= tolerance
    gradient = torch.randn_like(theirs)
    (back,) = torch.autograd.grad(ours, features, gradient)
    (their_back,) = torch.autograd.grad(theirs, features, gradient)
    assert (back - their_back).abs().max() <= tolerance * max(1, their_back.abs().max())


@pytest.mark.parametrize("count", [3, 150])
@pytest.mark.parametrize("classes", [3, 8, 21])
def test_maps_by_bin_give_the_same(backend, make_rois, count, classes):
    features = torch.randn(2, classes * 9, 9, 20, dtype=torch.float64)
    rois = make_rois(count, 2, 144, 320)
    maps = by_bin(features, 3).requires_grad_()
    found = psroi_align(maps, rois, 3, 1 / 16)
    assert (found - reference.psroi_align(features, rois, 3, 1 / 16, 2)).abs().max() <= 1e-12
    gradient = torch.randn_like(found)
    (back,) = torch.autograd.grad(found, maps, gradient)
    expected = reference.psroi_align_backward(gradient, rois, 1 / 16, 2, features.shape)
    assert (back.flatten(1, 3) - expected).abs().max() <= 1e-12
    if backend == "compiled":
        assert back.stride() == maps.stride()


def test_by_hand(backend):
    # The map is a ramp, cell (y, x) = 10 y + x, and channel (i, j) adds 100 (2 i + j).
    ramp = 10.0 * torch.arange(5)[:, None] + torch.arange(6.0)
    features = (ramp + 100.0 * torch.arange(4)[:, None, None])[None]
    # Columns 0.5 .. 4.5, rows 0.5 .. 2.5; bins of 2 x 1, whose means are their centres.
    rois = torch.tensor([[0.0, 1, 1, 5, 3]])
    assert psroi_align(features, rois, 2, 1.0).tolist() == [[[[11.5, 113.5], [221.5, 323.5]]]]


def test_channel_order_is_class_row_column(backend):
    features = torch.arange(2 * 9.0).view(1, 18, 1, 1).expand(1, 18, 6, 6)
    pooled = psroi_align(features, torch.tensor([[0.0, 0, 0, 5, 5]]), 3, 1.0)
    assert (pooled.flatten() - torch.arange(18.0)).abs().max() <= 1e-5


def test_nan_and_inf_stay_in_their_bins(backend):
    features = torch.ones(1, 8, 4, 4, dtype=torch.float64)
    features[0, 0, 0, 0] = torch.nan
    features[0, 5, 1, 3] = torch.inf
    features[0, 6, 2:, 0] = torch.tensor([torch.inf, -torch.inf])
    rois = torch.tensor([[0.0, 0, 0, 4, 4], [0, 3, 3, 4, 4]])  # samples on the centres of cells
    for maps in (features, by_bin(features, 2)):
        found = psroi_align(maps, rois, 2, 1.0)
        assert str(found[0].tolist()) == "[[[nan, 1.0], [1.0, 1.0]], [[1.0, inf], [nan, 1.0]]]"
        assert found[1].eq(1).all()


def test_output_lies_by_bin(backend, make_rois):
    pooled = psroi_align(FEATURES, make_rois(4, 1, 144, 208), 3, 1 / 16)
    assert pooled.shape == (4, 4, 3, 3)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_adaptive_rois_of_no_or_reversed_length_give_zero(backend):
    rois = torch.tensor([[0.0, 20, 20, 20, 60], [0, 60, 20, 20, 60], [0, 20, 20, 60, 60]])
    found = psroi_align(FEATURES.abs() + 1, rois, 2, 1 / 16, sampling_ratio=0)
    assert not found[:2].any()
    assert found[2].all()


def test_backward_refuses_the_same(compiled):
    gradient, like = torch.randn(2, 2, 2, 2), ([2, 2, 2, 2, 5, 6], [240, 120, 60, 30, 6, 1])
    rois = torch.tensor([[0.0, 0, 0, 9, 9], [7.0, 0, 0, 9, 9]])
    with pytest.raises(RuntimeError, match="rois: row 1"):
        OPS.psroi_align_backward(gradient, rois, 1 / 16, 2, *like)
    with pytest.raises(RuntimeError, match="shape"):
        OPS.psroi_align_backward(gradient[:1], rois[:1].repeat(2, 1), 1 / 16, 2, *like)


def test_channels_must_be_a_multiple(backend):
    with pytest.raises(ValueError, match="36 channels are not a multiple of k\\*k = 25"):
        psroi_align(FEATURES, torch.zeros(1, 5), 5, 1 / 16)


@pytest.mark.parametrize("ratio", [-1, 1025])
def test_ratios_that_make_no_sense(backend, ratio):
    with pytest.raises(ValueError, match=r"sampling_ratio: must be in 1\.\.1024, or 0"):
        psroi_align(FEATURES, torch.zeros(1, 5), 3, 1 / 16, sampling_ratio=ratio)


def test_module_prints_its_numbers():
    assert repr(PSRoIAlign(7, 1 / 16)) == "PSRoIAlign(k=7, spatial_scale=0.0625, sampling_ratio=2)"


def test_module_is_the_operator(make_rois):
    rois = make_rois(4, 2, 144, 208)
    assert torch.equal(
        PSRoIAlign(2, 1 / 16, 3)(FEATURES, rois), psroi_align(FEATURES, rois, 2, 1 / 16, 3)
    )
