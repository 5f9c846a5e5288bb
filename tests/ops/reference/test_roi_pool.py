"""The definition itself, against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from rfcn.ops.reference import roi_pool as reference


@pytest.mark.parametrize(
    ("low", "high", "scale", "cells"),
    [
        # start 0, end 2: three cells, bins of 1.5 that share the middle one
        (0, 2, 1.0, [range(2), range(1, 3)]),
        # scaled to 0.5 and 2.5, which round to 1 and 3: cells 1..3
        (1, 5, 0.5, [range(1, 3), range(2, 4)]),
        # a reversed side is one cell at its start, read by both bins
        (4, 1, 1.0, [range(4, 5), range(4, 5)]),
        # cut to the map on the left, and beyond it on the right
        (-3, 0, 1.0, [range(0), range(1)]),
        (9, 12, 1.0, [range(6, 6), range(6, 6)]),
    ],
)
def test_cells_of_two_bins_by_hand(low, high, scale, cells):
    number = np.float32
    found = reference._cells(number(low), number(high), number(scale), 2, 6)
    assert [list(range(6))[one] for one in found] == [list(one) for one in cells]


def test_pooling_and_its_gradient_by_hand():
    features = torch.tensor([[[[1.0, 5, 5], [2, 0, 5], [9, 9, 9]]]])
    rois = torch.tensor([[0.0, 0, 0, 2, 1], [0, 7, 7, 9, 9]])
    pooled, cells = reference.roi_pool(features, rois, (1, 2), 1.0)
    assert pooled.flatten().tolist() == [5, 5, 0, 0]  # columns 0, 1 and columns 1, 2
    assert cells.flatten().tolist() == [1, 1, -1, -1]  # the first of equal values
    gradient = torch.tensor([10.0, 1, 7, 7]).view(2, 1, 1, 2)
    found = reference.roi_pool_backward(gradient, cells, rois, (1, 1, 3, 3))
    assert found.flatten().tolist() == [0, 11, 0, 0, 0, 0, 0, 0, 0]
