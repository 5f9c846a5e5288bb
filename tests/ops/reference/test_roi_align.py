"""The definition itself, against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from rfcn.ops.reference import roi_align as reference


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_positions(number):
    def positions(*arguments):
        sides = (number(one) for one in arguments[:3])
        return reference.samples_of(*sides, *arguments[3:], cells=9)[0]

    # 0.5 .. 4.5 in two bins of two samples
    assert positions(1, 5, 1, 2, 2, True).tolist() == [[1, 2], [3, 4]]
    assert positions(1, 5, 1, 2, 2, False).tolist() == [[1.5, 2.5], [3.5, 4.5]]
    # adaptive: bins of 1.25 cells take two samples
    assert positions(16, 56, 1 / 16, 2, 0, True).tolist() == [[0.8125, 1.4375], [2.0625, 2.6875]]
    # reversed, sampled backwards; adaptively not at all; not aligned, one cell long
    assert positions(5, 1, 1, 2, 1, True).tolist() == [[3.5], [1.5]]
    assert positions(5, 1, 1, 2, 0, True).shape == (2, 0)
    assert positions(5, 1, 1, 1, 2, False).tolist() == [[5.25, 5.75]]
    # beyond measure
    assert positions(-3e38, 3e38, 1, 2, 0, True).shape == (2, 0)


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_of_very_many_samples_those_around_the_map(number):
    side = number(-1e6), number(1e6), number(1)
    positions, count = reference.samples_of(*side, 2, 0, True, cells=9)
    assert count == 1_000_000
    on_map = (positions >= -1) & (positions <= 9)
    assert on_map.sum(axis=1).tolist() == [1, 10]  # -0.5 is still a bin of the left; 0 .. 8.5
    assert positions.shape[1] < 6000


def test_cells_beside_a_position():
    (below, near), (above, far) = reference.two_cells((np.array([[-1.5, -1, -0.5, 0.25]]), 4), 3)
    assert below.tolist() == [[0, 0, 0, 0]]
    assert above.tolist() == [[1, 1, 1, 1]]
    assert near.tolist() == [[0, 0.25, 0.25, 0.1875]]
    assert far.tolist() == [[0, 0, 0, 0.0625]]
    (below, near), (above, far) = reference.two_cells((np.array([[1.75, 2, 3, 3.5]]), 4), 3)
    assert below.tolist() == [[1, 2, 2, 0]]
    assert above.tolist() == [[2, 2, 2, 1]]
    assert near.tolist() == [[0.0625, 0.25, 0.25, 0]]
    assert far.tolist() == [[0.1875, 0, 0, 0]]


def test_one_bin_and_its_gradient():
    features = torch.tensor([[[[1.0, 2], [3, 4]]]])
    rois = torch.tensor([[0.0, 0.75, 0.75, 1.25, 1.25]])  # one sample at (0.5, 0.5)
    pooled = reference.roi_align(features, rois, (1, 1), 1.0, 1, True)
    assert pooled.tolist() == [[[[2.5]]]]
    gradient = torch.full((1, 1, 1, 1), 4.0)
    found = reference.roi_align_backward(gradient, rois, 1.0, 1, True, (1, 1, 2, 2))
    assert found.eq(1).all()


def test_backward_is_the_transpose(make_rois):
    features, gradient = torch.randn(2, 2, 5, 6), torch.randn(40, 2, 3, 2)
    rois = make_rois(40, 2, 80, 96)
    for ratio, aligned in ((0, True), (2, False)):
        pooled = reference.roi_align(features, rois, (3, 2), 1 / 16, ratio, aligned)
        back = reference.roi_align_backward(gradient, rois, 1 / 16, ratio, aligned, features.shape)
        assert (pooled * gradient).sum() == pytest.approx(float((back * features).sum()), abs=1e-9)


def test_a_map_without_cells():
    rois = torch.tensor([[0.0, 0, 0, 1, 1]])
    pooled = reference.roi_align(torch.zeros(1, 2, 0, 3), rois, (1, 1), 1.0, 2, True)
    assert not pooled.any()
