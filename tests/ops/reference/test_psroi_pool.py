"""The definition itself, against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from rfcn.ops.reference import psroi_pool as reference


@pytest.mark.parametrize(
    ("x", "expected"),
    [(0.5, 1), (-0.5, -1), (2.5, 3), (-2.5, -3), (0.49, 0), (0.0, 0), (7.0, 7), (-1.2, -1)],
)
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_halves_round_away_from_zero(x, expected, number):
    assert reference.round_half_away(number(x)) == expected
    largest_below_half = np.nextafter(number(0.5), number(0))
    assert reference.round_half_away(largest_below_half) == 0


@pytest.mark.parametrize(
    ("low", "high", "scale", "cells"),
    [
        # start 0, end 3, bins of 1.5: the middle cell is shared
        (0, 2, 1.0, [range(2), range(1, 3)]),
        # start 1, end 3.5 at scale 1/2, bins of 1.25: 1..2.25 and 2.25..3.5
        (2, 6, 0.5, [range(1, 3), range(2, 4)]),
        # a reversed side has the smallest length, 0.1 cell, from its start: 4..4.05, 4.05..4.1
        (4, 1, 1.0, [range(4, 5), range(4, 5)]),
        # cut to the map on the left, and beyond it on the right
        (-3, 0, 1.0, [range(0), range(1)]),
        (9, 12, 1.0, [range(6, 6), range(6, 6)]),
    ],
)
def test_cells_of_two_bins_by_hand(low, high, scale, cells):
    number = np.float32
    found = reference._msra_cells(number(low), number(high), number(scale), 2, 6)
    assert [list(range(6))[one] for one in found] == [list(one) for one in cells]


@pytest.mark.parametrize(
    ("low", "high", "paper", "torchvision"),
    [
        # at half the size: 1.5 and 5 are 2 and 5 for the paper; 1.5 and 4.5, 2 and 5, without + 1
        (3, 9, [range(2, 4), range(3, 5)], [range(2, 4), range(3, 5)]),
        # 2 and 4.5, that is 5; 2 and 4
        (3, 8, [range(2, 4), range(3, 5)], [range(2, 3), range(3, 4)]),
        # one cell at least, which both bins read
        (8, 2, [range(4, 5), range(4, 5)], [range(4, 5), range(4, 5)]),
        # cut to the map: -2 and 1; -2 and 0.5, that is 1
        (-4, 1, [range(0), range(1)], [range(0), range(1)]),
    ],
)
def test_whole_sides_by_hand(low, high, paper, torchvision):
    number = np.float32
    sides = number(low), number(high), number(0.5)
    for cells_of, expected in (
        (reference._paper_cells, paper),
        (reference._torchvision_cells, torchvision),
    ):
        found = cells_of(*sides, 2, 6)
        assert [list(range(6))[one] for one in found] == [list(one) for one in expected]


def test_a_side_longer_than_a_number_has_no_edge():
    number = np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        found = reference._msra_cells(number(-3e38), number(3e38), number(1), 2, 6)
    assert found == [slice(0, 6), slice(6, 6)]  # 0 * infinity is NaN, at 0; the others are infinite


def test_pooling_and_its_gradient_by_hand():
    features = torch.arange(4 * 9.0).view(1, 4, 3, 3)
    rois = torch.tensor([[0.0, 0, 0, 1, 1]])  # four cells: each bin reads one
    pooled = reference.psroi_pool(features, rois, 2, 1.0)
    assert pooled.tolist() == [[[[0.0, 9 + 1], [18 + 3, 27 + 4]]]]
    gradient = reference.psroi_pool_backward(pooled, rois, 2, 1.0, (1, 4, 3, 3))
    assert gradient[0, 3].tolist() == [[0, 0, 0], [0, 31, 0], [0, 0, 0]]
    assert gradient.sum() == pooled.sum()
