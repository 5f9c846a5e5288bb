"""The parts of the plain form of both operators; the whole of it runs in their own tests."""

import pytest
import torch

from rfcn.ops.plain import bilinear
from rfcn.ops.plain import roi_align as plain
from rfcn.ops.plain.bilinear import Sampling
from rfcn.ops.reference import roi_align as reference


def by_definition(low, high, bins, cells, sampling):
    """The weights of one RoI, sample by sample."""
    side = low.numpy()[()], high.numpy()[()], low.numpy().dtype.type(sampling.scale)
    samples = reference.samples_of(*side, bins, sampling.ratio, sampling.aligned, cells)
    weights = torch.zeros(bins, cells, dtype=torch.float64)
    for cell, share in reference.two_cells(samples, cells):
        for p in range(bins):
            weights[p].index_add_(0, torch.tensor(cell[p]), torch.tensor(share[p]))
    return weights


@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("looked_at", [True, False])
def test_weights_match_the_definition(monkeypatch, ratio, aligned, dtype, looked_at):
    monkeypatch.setattr(bilinear, "at_hand", lambda tensor: looked_at)
    g = torch.Generator().manual_seed(0)
    low, high = torch.rand(2, 200, generator=g, dtype=dtype) * 400 - 100
    for sampling, bins, cells in (
        (Sampling(1 / 16, ratio, aligned), 3, 12),
        (Sampling(1.0, ratio, aligned), 2, 7),
    ):
        found = bilinear.axis_weights(low, high, bins, cells, sampling)
        for r in range(200):
            expected = by_definition(low[r], high[r], bins, cells, sampling)
            assert (found[r] - expected).abs().max() <= 1e-13


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 0, 7.0), (0, 0, -1.0), (0, 2, torch.nan), (0, 3, torch.inf)]
)
def test_bad_rows_give_zeros_where_it_cannot_look(monkeypatch, row, column, value):
    monkeypatch.setattr(bilinear, "at_hand", lambda tensor: False)  # as on CUDA, or traced
    rois = torch.tensor([[0.0, 1, 1, 4, 4], [1.0, 1, 1, 3, 4]])
    rois[row, column] = value
    sampling, products = (
        Sampling(1.0, 2, True),
        plain.product,
    )
    found = bilinear.bilinear_means(torch.ones(2, 3, 5, 6), rois, (2, 2), sampling, products)
    assert not found[0].any()
    assert (found[1] - 1).abs().max() <= 1e-12
