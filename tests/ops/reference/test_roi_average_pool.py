"""The definition itself, against numbers worked out by hand."""

import torch

from rfcn.ops.reference import roi_average_pool as reference

FEATURES = torch.arange(12.0).view(1, 1, 3, 4) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
ROI = torch.tensor([[0.0, 0, 0, 2, 1]])  # columns 0..2 in bins of 1.5, rows 0 and 1


def test_every_channel_in_every_bin():
    pooled = reference.roi_average_pool(FEATURES, ROI, 2, 1.0)
    assert pooled.tolist() == [[[[0.5, 1.5], [4.5, 5.5]], [[-0.5, -1.5], [-4.5, -5.5]]]]


def test_backward_adds_the_bins_that_share_a_cell():
    gradient = torch.tensor([[[[2.0, 4.0], [6.0, 8.0]]]])
    found = reference.roi_average_pool_backward(gradient, ROI, 2, 1.0, (1, 1, 3, 4))
    assert found.tolist() == [[[[1, 3, 2, 0], [3, 7, 4, 0], [0, 0, 0, 0]]]]


def test_a_bin_outside_is_zero():
    assert not reference.roi_average_pool(FEATURES, ROI + 9, 2, 1.0, "paper").any()
