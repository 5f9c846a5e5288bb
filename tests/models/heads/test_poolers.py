import pytest
import torch
from torch.testing import assert_close
from torchvision.ops import roi_align, roi_pool

from rfcn.models.heads.poolers import align_pooler, max_pooler

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
    assert max_pooler(7, 16).inclusive_corners
    assert not align_pooler(7, 16).inclusive_corners
