"""The definition itself, against numbers worked out by hand."""

import torch

from rfcn.ops.reference import psroi_vote as reference


def test_voting_and_its_gradient_by_hand():
    features = torch.arange(4 * 9.0).view(1, 4, 3, 3)
    rois = torch.tensor([[0.0, 0, 0, 1, 1], [0, -2, 0, 1, 1]])
    votes = reference.psroi_vote(features, rois, 2, 1.0)
    # Each bin of the first reads one cell. Of the second, the left bins lie outside and count 0,
    # and the right ones read columns 0 and 1 of rows 0 and 1.
    assert votes.tolist() == [[(0 + 10 + 21 + 31) / 4], [(9.5 + 30.5) / 4]]
    gradient = reference.psroi_vote_backward(
        torch.tensor([[8.0], [16.0]]), rois, 2, 1.0, (1, 4, 3, 3)
    )
    assert gradient[0, 0].tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert gradient[0, 1].tolist() == [[2, 4, 0], [0, 0, 0], [0, 0, 0]]
    assert gradient[0, 3].tolist() == [[0, 0, 0], [2, 4, 0], [0, 0, 0]]
    assert gradient.sum() == 8 + 16 / 2
