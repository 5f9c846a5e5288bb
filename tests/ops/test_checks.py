"""Bad input to psroi_pool: what is refused, in both backends, and what is survived."""

import pytest
import torch

from rfcn.ops import checks
from rfcn.ops.psroi_pool import psroi_pool

FEATURES = torch.randn(2, 8, 5, 6)
ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def changed(row, column, value):
    rois = ROIS.clone()
    rois[row, column] = value
    return rois


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [1, 2, 3, 4])
def test_corner_that_is_not_finite(backend, column, value):  # O5
    with pytest.raises(RuntimeError, match=r"rois: row 1 is .*corners must be finite"):
        psroi_pool(FEATURES, changed(1, column, value), 2, 1 / 16)


@pytest.mark.parametrize("value", [-1.0, 2.0, 1e6, float("nan"), 0.7, -0.5])
def test_picture_that_does_not_exist(backend, value):  # O7
    with pytest.raises(RuntimeError, match=r"rois: row 1 is .*0\.\.1"):
        psroi_pool(FEATURES, changed(1, 0, value), 2, 1 / 16)


def test_backward_refuses_the_same(compiled):
    gradient = torch.randn(2, 2, 2, 2)
    size, stride = [2, 2, 2, 2, 5, 6], [240, 120, 60, 30, 6, 1]
    with pytest.raises(RuntimeError, match="rois: row 0"):
        torch.ops.rfcn.psroi_pool_backward(gradient, changed(0, 0, 9.0), 1 / 16, size, stride)
    with pytest.raises(RuntimeError, match="shape"):
        torch.ops.rfcn.psroi_pool_backward(gradient[:1], ROIS, 1 / 16, size, stride)


@pytest.mark.parametrize(
    "corners",
    [
        (1e30, 1e30, 2e30, 2e30),
        (-3e38, -3e38, 3e38, 3e38),
        (1e6, 0, 1e6 + 50, 50),
        (-2e9, -2e9, -1e9, -1e9),
    ],
)
def test_huge_corners_are_finite_and_zero_outside(backend, corners):  # O3, O6
    features = FEATURES.clone().requires_grad_()
    pooled = psroi_pool(features, torch.tensor([[0.0, *corners]]), 2, 1 / 16)
    assert pooled.isfinite().all()
    pooled.sum().backward()
    assert features.grad.isfinite().all()
    if corners[0] > 0 or corners[2] < 0:
        assert not pooled.any()
        assert not features.grad.any()


@pytest.mark.parametrize("shape", [(0,), (5,), (2, 4), (2, 6), (1, 2, 5)])
def test_rois_of_a_wrong_shape(backend, shape):  # O8
    with pytest.raises(ValueError, match=r"rois: the shape must be \[\*, 5\]"):
        psroi_pool(FEATURES, torch.zeros(shape), 2, 1 / 16)


def test_no_rois(backend):  # O8
    features = FEATURES.clone().requires_grad_()
    pooled = psroi_pool(features, torch.zeros(0, 5), 2, 1 / 16)
    assert pooled.shape == (0, 2, 2, 2)
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("shape", [(0, 8, 5, 6), (2, 0, 5, 6), (2, 8, 0, 6), (2, 8, 5, 0)])
def test_empty_maps(backend, shape):  # O9
    features = torch.randn(shape, requires_grad=True)
    rois = ROIS[:0] if shape[0] == 0 else ROIS
    pooled = psroi_pool(features, rois, 2, 1 / 16)
    assert pooled.shape == (len(rois), shape[1] // 4, 2, 2)
    assert not pooled.any()
    pooled.sum().backward()
    assert features.grad.shape == shape


def test_empty_batch_with_rois(backend):  # O9
    with pytest.raises(RuntimeError, match="row 0"):
        psroi_pool(torch.randn(0, 8, 5, 6), ROIS, 2, 1 / 16)


def test_channels_must_be_a_multiple(backend):  # O10
    with pytest.raises(ValueError, match="8 channels are not a multiple of k\\*k = 9"):
        psroi_pool(FEATURES, ROIS, 3, 1 / 16)


@pytest.mark.parametrize("features", [FEATURES[0], FEATURES.view(2, 2, 4, 5, 6)])
def test_maps_of_a_wrong_shape(backend, features):  # O10
    with pytest.raises(ValueError, match="features: the shape must be"):
        psroi_pool(features, ROIS, 2, 1 / 16)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(backend, k):
    with pytest.raises(ValueError, match="k: must be at least 1"):
        psroi_pool(FEATURES, ROIS, k, 1 / 16)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.complex64])
def test_maps_of_a_wrong_dtype(backend, dtype):  # O12
    with pytest.raises(ValueError, match="features: dtype must be float32"):
        psroi_pool(FEATURES.to(dtype), ROIS, 2, 1 / 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_rois_of_a_wrong_dtype(backend, dtype):  # O13
    with pytest.raises(ValueError, match="rois: dtype must be float32 or float64"):
        psroi_pool(FEATURES, ROIS.to(dtype), 2, 1 / 16)


def test_rois_on_another_device(backend):  # O13
    with pytest.raises(ValueError, match="rois: must be on cpu, not on meta"):
        psroi_pool(FEATURES, ROIS.to("meta"), 2, 1 / 16)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scale_that_makes_no_sense(backend, scale):  # O16
    with pytest.raises(ValueError, match="spatial_scale"):
        psroi_pool(FEATURES, ROIS, 2, scale)


def test_check_rois_passes_good_rows_and_names_the_first_bad_one():
    checks.check_rois(ROIS, 2)
    checks.check_rois(ROIS[:0], 0)
    with pytest.raises(RuntimeError, match="row 0"):
        checks.check_rois(ROIS, 0)
    assert checks.valid_rows(changed(0, 3, float("nan")), 2).tolist() == [False, True]
