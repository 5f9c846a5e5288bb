"""The plain PyTorch form; the whole of it runs in the tests of the operator."""

import torch

from rfcn.ops.plain import psroi_pool, roi_average_pool


def test_one_integral_image_serves_all_bins(monkeypatch):
    seen = []
    integral = psroi_pool._integral
    monkeypatch.setattr(psroi_pool, "_integral", lambda maps: seen.append(maps) or integral(maps))
    features = torch.randn(2, 4, 5, 6)
    rois = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])
    pooled = roi_average_pool.roi_average_pool(features, rois, 3, 1 / 16)
    assert pooled.shape == (2, 4, 3, 3)
    assert [one.numel() for one in seen] == [features.numel()]  # not nine times as many
