import pytest
import torch
from torch.testing import assert_close
from torchvision.ops import roi_align, roi_pool

from rfcn.models.heads.poolers import (
    PositionSensitiveAlign,
    PositionSensitivePooler,
    align_pooler,
    average_pooler,
    max_pooler,
)
from rfcn.ops.psroi_align import psroi_align
from rfcn.ops.psroi_pool import psroi_pool

ROIS = torch.tensor([[0.0, 8, 8, 56, 40], [1, 0, 0, 64, 64]])


@pytest.mark.parametrize("size", [1, 7, 14])
def test_they_are_the_operators_they_are_named_after(size):
    features = torch.randn(2, 3, 4, 4)
    assert_close(max_pooler(size, 16)(features, ROIS), roi_pool(features, ROIS, size, 1 / 16))
    assert_close(
        align_pooler(size, 16)(features, ROIS),
        roi_align(features, ROIS, size, 1 / 16, sampling_ratio=2, aligned=True),
    )


def test_the_corners_they_take():
    """The released operators take inclusive corners, those that sample take half-open ones."""
    assert max_pooler(7, 16).inclusive_corners
    assert average_pooler(7, 16).inclusive_corners
    assert not align_pooler(7, 16).inclusive_corners
    assert PositionSensitivePooler(7, 16, "msra").inclusive_corners
    assert PositionSensitivePooler(7, 16, "paper").inclusive_corners
    assert not PositionSensitivePooler(7, 16, "torchvision").inclusive_corners
    assert not PositionSensitiveAlign(7, 16).inclusive_corners


def test_average_is_the_pooling_of_maps_that_are_all_alike():
    features = torch.randn(2, 3, 4, 4)
    copies = features.repeat_interleave(9, dim=1)
    assert_close(average_pooler(3, 16)(features, ROIS), psroi_pool(copies, ROIS, 3, 1 / 16))


@pytest.mark.parametrize("semantics", ["msra", "paper", "torchvision", "align"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_bins_vote_by_their_mean(semantics, k):
    align = semantics == "align"
    pooler = PositionSensitiveAlign(k, 8) if align else PositionSensitivePooler(k, 8, semantics)
    assert (pooler.k, pooler.stride) == (k, 8)
    maps = torch.randn(2, 5 * k * k, 9, 9)
    expected = (
        psroi_align(maps, ROIS, k, 1 / 8) if align else psroi_pool(maps, ROIS, k, 1 / 8, semantics)
    )
    assert_close(pooler(maps, ROIS), expected)
    assert_close(pooler.vote(maps, ROIS), expected.mean((2, 3)))
    assert (pooler.average is None) == align
