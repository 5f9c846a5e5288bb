"""The parts of the plain PyTorch form; the whole of it runs in the tests of the operator."""

import pytest
import torch

from rfcn.ops.plain import deform_psroi_pool as plain

ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def test_corners_of_samples():
    positions = torch.tensor([-0.51, -0.5, 0.0, 0.25, 2.0, 2.5, 2.51, torch.nan, torch.inf])
    cells, weights, counted = plain._corners(positions, 3)
    assert counted.tolist() == [False, True, True, True, True, True, False, False, False]
    inside = cells[counted].tolist()
    assert inside == [[0, 0], [0, 0], [0, 1], [2, 2], [2, 2]]  # exact cells are read twice
    assert weights[counted].tolist() == [[1, 0], [1, 0], [0.75, 0.25], [1, 0], [1, 0]]
    assert cells.min() >= 0
    assert cells.max() < 3


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 0, 7.0), (0, 0, -1.0), (0, 2, torch.nan), (0, 3, torch.inf)]
)
def test_bad_rows_give_zeros_where_it_cannot_ask(row, column, value):
    rois = ROIS.clone()
    rois[row, column] = value
    pooled = plain.pool(torch.ones(2, 2, 2, 2, 5, 6), rois, None, 1 / 16, 4, 0.1, in_chunks=False)
    assert not pooled[0].any()
    assert (pooled[1] - 1).abs().max() <= 1e-6


def test_many_rois_stay_within_memory(monkeypatch, make_rois):  # O19: it works in chunks
    features = torch.randn(1, 4, 3, 3, 5, 6)
    rois, offsets = make_rois(100, 1, 80, 96), torch.randn(100, 2, 2, 3, 3)
    expected = plain.deform_psroi_pool(features, rois, offsets, 1 / 16, 2, 0.1)
    seen = []
    means = plain._means
    monkeypatch.setattr(plain, "CHUNK_ELEMENTS", 6000)
    monkeypatch.setattr(plain, "_means", lambda *a: seen.append(means(*a)) or seen[-1])
    assert torch.equal(plain.deform_psroi_pool(features, rois, offsets, 1 / 16, 2, 0.1), expected)
    assert len(seen) > 5
    assert max(16 * one.numel() for one in seen) <= 6000
