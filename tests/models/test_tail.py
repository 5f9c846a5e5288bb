import torch

from rfcn.models.tail import GlobalAverage


def test_the_mean_over_all_cells():
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert GlobalAverage()(x).tolist() == [[2.5, 8.5]]
    assert GlobalAverage()(torch.zeros(0, 2, 7, 7)).shape == (0, 2)
