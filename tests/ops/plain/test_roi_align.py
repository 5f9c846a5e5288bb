"""The plain form as it runs on a GPU or traced: all pictures at once, no look at values."""

import pytest
import torch

from rfcn.ops.plain import bilinear
from rfcn.ops.plain import roi_align as plain
from rfcn.ops.reference import roi_align as reference


@pytest.mark.parametrize("ratio", [0, 2])
def test_all_pictures_at_once(monkeypatch, make_rois, ratio):
    features, rois = torch.randn(3, 4, 5, 6, dtype=torch.float64), make_rois(60, 3, 80, 96)
    expected = reference.roi_align(features, rois, (2, 3), 1 / 16, ratio, True)
    monkeypatch.setattr(bilinear, "at_hand", lambda tensor: False)
    found = plain.roi_align(features, rois, (2, 3), 1 / 16, ratio, True)
    assert (found - expected).abs().max() <= 1e-12


def test_small_chunks(monkeypatch, make_rois):
    features, rois = torch.randn(2, 4, 5, 6, dtype=torch.float64), make_rois(60, 2, 80, 96)
    expected = plain.roi_align(features, rois, (2, 3), 1 / 16, 2, True)
    monkeypatch.setattr(bilinear, "CHUNK_ELEMENTS", 100)
    found = plain.roi_align(features, rois, (2, 3), 1 / 16, 2, True)
    assert (found - expected).abs().max() <= 1e-14
