"""The plain form as it runs on a GPU or traced: all pictures at once, no look at values."""

import pytest
import torch

from rfcn.ops.plain import bilinear
from rfcn.ops.plain import psroi_align as plain
from rfcn.ops.reference import psroi_align as reference


@pytest.mark.parametrize("ratio", [0, 2])
def test_all_pictures_at_once(monkeypatch, make_rois, ratio):
    features, rois = torch.randn(3, 12, 5, 6, dtype=torch.float64), make_rois(60, 3, 80, 96)
    expected = reference.psroi_align(features, rois, 2, 1 / 16, ratio)
    monkeypatch.setattr(bilinear, "at_hand", lambda tensor: False)
    maps = features.unflatten(1, (3, 2, 2))
    found = plain.psroi_align(maps, rois, 1 / 16, ratio)
    assert (found - expected).abs().max() <= 1e-12
