"""The parts of the plain PyTorch form; the whole of it runs in the tests of the operator."""

import pytest
import torch

from rfcn.ops.plain import psroi_pool as plain
from rfcn.ops.reference import psroi_pool as reference

ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def test_halves_round_away_from_zero():
    x = torch.tensor([0.5, -0.5, 2.5, -2.5, 0.49999997, 0.0, 8388609.0])
    assert plain.round_half_away(x).tolist() == [1, -1, 3, -3, 0, 0, 8388609]


@pytest.mark.parametrize("semantics", range(3))
def test_bin_cells_match_the_definition(semantics):
    g = torch.Generator().manual_seed(0)
    low, high = (torch.rand(2, 500, generator=g) * 400 - 100).round(decimals=1)
    cells_of = [reference._msra_cells, reference._paper_cells, reference._torchvision_cells]
    for scale in (1 / 16, 1 / 3, 1.0):
        found = plain.bin_cells(low, high, scale, 3, 12, semantics)
        for r in range(500):
            sides = low[r].numpy()[()], high[r].numpy()[()], low.numpy().dtype.type(scale)
            expected = cells_of[semantics](*sides, 3, 12)
            for cells, (begin, end) in zip(expected, found[r].tolist(), strict=True):
                assert list(range(begin, end)) == list(range(12)[cells])


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 0, 7.0), (0, 0, -1.0), (0, 2, torch.nan), (0, 3, torch.inf)]
)
def test_bad_rows_give_zeros_where_it_cannot_ask(monkeypatch, row, column, value):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # as on CUDA, or traced
    rois = ROIS.clone()
    rois[row, column] = value
    pooled = plain.psroi_pool(torch.ones(2, 2, 2, 2, 5, 6), rois, 1 / 16)
    assert not pooled[0].any()
    assert pooled[1].eq(1).all()


def test_many_rois_stay_within_memory(monkeypatch, make_rois):  # O19: it works in chunks
    features = torch.randn(1, 4, 3, 3, 5, 6)
    rois = make_rois(300, 1, 80, 96)
    expected = plain.psroi_pool(features, rois, 1 / 16)
    seen = []
    corners = plain._corners
    monkeypatch.setattr(plain, "CHUNK_ELEMENTS", 1000)
    monkeypatch.setattr(plain, "_corners", lambda *a: seen.append(corners(*a)) or seen[-1])
    assert torch.equal(plain.psroi_pool(features, rois, 1 / 16), expected)
    assert len(seen) > 5
    assert max(one.numel() for one in seen) <= 1000
