"""The definition itself, against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from rfcn.ops.reference import deform_psroi_pool as reference


@pytest.mark.parametrize(
    ("p", "offset", "line"),
    [
        # start 0 * 1 - 0.5, length 4, bins of 2, samples a cell apart
        (0, 0, [0, 0.5]),  # -0.5 counts, clamped
        (1, 0, [1.5, 2.5]),
        (1, 2.5, [2.5, 3]),  # 3.5 counts, clamped
        (1, 5, [3]),  # 4.5 does not count
        (1, 20, []),
        (0, -2.5, [0]),  # -1.5 does not count
    ],
)
def test_samples_of_two_bins_by_hand(p, offset, line):
    number = np.float32
    start, length = reference._side(number(0), number(3), number(1))
    assert (start, length) == (-0.5, 4)
    sampling = reference.Sampling(2, 1.0, samples=2)
    found = reference._line(start, length, p, number(offset), sampling, 4)
    assert found.tolist() == pytest.approx(line)


def test_smallest_side_and_rounding():
    number = np.float64
    assert reference._side(number(9), number(2), number(1 / 16))[1] == 0.1
    assert reference._side(number(0.5), number(2.5), number(1)) == (0.5, 3)  # 1 and 3, + 1


def test_values_slopes_and_their_transpose():
    maps = np.array([[[0.0, 1], [2, 5]]])
    corners = reference._corners(np.array([0.25, 1.0]), np.array([0.5]))
    values = reference._values(maps, corners)
    assert values[0, :, 0].tolist() == [0.75 * 0.5 + 0.25 * 3.5, 3.5]
    along_x, along_y = reference._slopes(maps, corners)
    assert along_x[0, :, 0].tolist() == [0.75 * 1 + 0.25 * 3, 3]
    assert along_y[0, :, 0].tolist() == [3, 0]  # exactly on a row of cells: none across
    result = np.zeros_like(maps)
    reference._add(result, corners, np.array([2.0]))
    assert (result * maps).sum() == 2 * values.sum()


def test_pooling_and_its_gradients_by_hand():
    features = torch.arange(4.0).view(1, 1, 2, 2)
    rois = torch.tensor([[0.0, 0, 0, 1, 1]])
    offsets = torch.tensor([2.5, 0.0]).view(1, 1, 2, 1, 1)  # half a cell
    sampling = reference.Sampling(1, 1.0, samples=1)
    assert reference.deform_psroi_pool(features, rois, None, sampling).item() == 0
    assert reference.deform_psroi_pool(features, rois, offsets, sampling).item() == 0
    offsets[0, 0, 0] = 5  # one cell: column 0.5, row -0.5, clamped
    assert reference.deform_psroi_pool(features, rois, offsets, sampling).item() == 0.5
    gradient = torch.full((1, 1, 1, 1), 4.0)
    maps, moves = reference.deform_psroi_pool_backward(gradient, features, rois, offsets, sampling)
    assert maps[0, 0].tolist() == [[2, 2], [0, 0]]
    assert moves.flatten().tolist() == pytest.approx([4 * 0.1 * 2, 0])
