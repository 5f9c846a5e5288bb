"""The definition itself: each bin is a bin of roi_align on the bin's own map."""

import pytest
import torch

from rfcn.ops.reference import psroi_align as reference
from rfcn.ops.reference import roi_align as of_one_map


@pytest.mark.parametrize("ratio", [0, 2])
def test_bins_read_their_own_maps(make_rois, ratio):
    features, rois = torch.randn(2, 3 * 4, 5, 6), make_rois(30, 2, 80, 96)
    pooled = reference.psroi_align(features, rois, 2, 1 / 16, ratio)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                own = features[:, [(c * 2 + i) * 2 + j]]
                every = of_one_map.roi_align(own, rois, (2, 2), 1 / 16, ratio, True)
                assert (pooled[:, c, i, j] - every[:, 0, i, j]).abs().max() <= 1e-14


def test_backward_is_the_transpose(make_rois):
    features, gradient = torch.randn(2, 8, 5, 6), torch.randn(40, 2, 2, 2)
    rois = make_rois(40, 2, 80, 96)
    pooled = reference.psroi_align(features, rois, 2, 1 / 16, 2)
    back = reference.psroi_align_backward(gradient, rois, 1 / 16, 2, features.shape)
    assert (pooled * gradient).sum() == pytest.approx(float((back * features).sum()), abs=1e-9)
