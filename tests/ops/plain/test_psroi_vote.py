"""The plain vote is the mean of the plain bins; the tests of the operator ask the rest."""

import torch

from rfcn.ops.plain import psroi_pool, psroi_vote


def test_mean_of_the_bins_whatever_the_chunks(monkeypatch, make_rois):
    features = torch.randn(1, 4, 3, 3, 5, 6, dtype=torch.float64)
    rois = make_rois(300, 1, 80, 96)
    expected = psroi_pool.psroi_pool(features, rois, 1 / 16).mean((2, 3))
    for elements in (100, 1000, 1 << 20):
        monkeypatch.setattr(psroi_pool, "CHUNK_ELEMENTS", elements)
        found = psroi_vote.psroi_vote(features, rois, 1 / 16)
        assert (found - expected).abs().max() <= 1e-14


def test_nothing_to_vote():
    votes = psroi_vote.psroi_vote(torch.ones(0, 4, 3, 3, 5, 6), torch.zeros(0, 5), 1.0)
    assert votes.shape == (0, 4)
