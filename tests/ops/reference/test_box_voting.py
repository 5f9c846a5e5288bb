"""The definition itself, against numbers worked out by hand."""

import torch

from rfcn.ops.reference.box_voting import box_voting

# 1 covers the better half of 0: IoU 0.5. 2 is apart.
BOXES = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [20, 0, 30, 10]])
SCORES = torch.tensor([0.75, 0.25, 0.5])


def test_votes_by_hand():
    kept = torch.tensor([0, 2])
    boxes, scores = box_voting(BOXES, SCORES, kept)
    assert boxes.tolist() == [[0, 0, 8, 7], [20, 0, 30, 10]]  # 0.75 * 8 + 0.25 * 4
    assert scores.tolist() == [0.75, 0.5]
    assert box_voting(BOXES, SCORES, kept, scoring="average")[1].tolist() == [0.5, 0.5]
    assert box_voting(BOXES, SCORES, kept[:0])[0].shape == (0, 4)
    alone, _ = box_voting(BOXES, SCORES, kept, threshold=0.51)
    assert alone.tolist() == BOXES[kept].tolist()
    apart, _ = box_voting(BOXES, SCORES, kept, groups=torch.tensor([0, 1, 1]))
    assert apart.tolist() == BOXES[kept].tolist()


def test_the_maximum_may_be_a_voter_s():
    _, scores = box_voting(BOXES, SCORES, torch.tensor([1]), scoring="maximum")
    assert scores.tolist() == [0.75]
