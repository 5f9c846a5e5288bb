"""The parts of the plain PyTorch form; the whole of it runs in the tests of the operator."""

import torch

from rfcn.ops.plain import roi_pool as plain
from rfcn.ops.reference import roi_pool as reference


def test_bin_cells_match_the_definition():
    g = torch.Generator().manual_seed(0)
    low, high = (torch.rand(2, 500, generator=g) * 400 - 100).round(decimals=1)
    for scale in (1 / 16, 1 / 3, 1.0):
        found = plain.bin_cells(low, high, scale, 3, 12)
        for r in range(500):
            sides = low[r].numpy()[()], high[r].numpy()[()], low.numpy().dtype.type(scale)
            expected = reference._cells(*sides, 3, 12)
            for cells, (begin, end) in zip(expected, found[r].tolist(), strict=True):
                assert list(range(begin, end)) == list(range(12)[cells])


def test_two_stretches_cover_every_range():
    for begin in range(9):
        for end in range(begin + 1, 10):
            level, first, second = plain._cover(torch.tensor([[[begin, end]]]), 9)
            stretch = 2 ** int(level)
            covered = {*range(int(first), int(first) + stretch)}
            covered |= {*range(int(second), int(second) + stretch)}
            assert covered == {*range(begin, end)}


def test_many_rois_stay_within_memory(monkeypatch, make_rois):  # O19: it works in chunks
    features = torch.randn(1, 24, 5, 6)
    rois = make_rois(50, 1, 80, 96)
    expected = plain.roi_pool(features, rois, (3, 3), 1 / 16)
    seen = []
    tables = plain._tables
    monkeypatch.setattr(plain, "CHUNK_ELEMENTS", 1500)
    monkeypatch.setattr(plain, "_tables", lambda *a: seen.append(tables(*a)) or seen[-1])
    assert torch.equal(plain.roi_pool(features, rois, (3, 3), 1 / 16), expected)
    assert len(seen) > 5
    assert max(sum(one.numel() for one in some) for some in seen) <= 1500
