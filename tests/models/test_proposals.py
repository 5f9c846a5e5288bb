import pytest
import torch

from rfcn.errors import ConfigError
from rfcn.models.proposals import GivenProposals
from rfcn.structures import Features, ImageBatch

MAPS = Features(torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 1, 1))


def a_batch(proposals):
    pixels = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    return ImageBatch(pixels, [(16, 16)] * 2, [(16, 16)] * 2, ["a", "b"], proposals)


def test_the_best_of_each_picture_and_no_loss():
    given = [torch.rand(5, 4), torch.rand(2, 4)]
    proposer = GivenProposals(train_proposals=3, test_proposals=4)
    boxes, losses = proposer(a_batch(given), MAPS)
    assert losses == {}
    assert [len(one) for one in boxes] == [4, 2]
    assert torch.equal(boxes[0], given[0][:4])
    boxes, losses = proposer(a_batch(given), MAPS, [])
    assert losses == {}
    assert [len(one) for one in boxes] == [3, 2]


def test_pictures_without_proposals_are_refused():
    with pytest.raises(ConfigError, match=r"no RPN.*data\.proposals"):
        GivenProposals()(a_batch(None), MAPS)
