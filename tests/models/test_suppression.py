"""Limit settings of the choices among doubles: where each must be another one, or nothing."""

import pytest
import torch
from torch.testing import assert_close

from rfcn.boxes import iou
from rfcn.models.suppression import BoxVoting, HardNMS, SoftNMS

COUNT = 400


def candidates(seed=0):
    """Boxes of two classes, many of them doubles, scores all different."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(COUNT, 2, generator=g) * 60
    boxes = torch.cat([corners, corners + 5 + torch.rand(COUNT, 2, generator=g) * 40], dim=1)
    scores = (torch.randperm(COUNT, generator=g) + 50) / (COUNT + 50)
    return boxes, scores, torch.randint(1, 3, (COUNT,), generator=g)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("limit", [7, COUNT])
def test_a_gaussian_of_no_width_is_nms_that_lets_nothing_overlap(limit):
    boxes = candidates()
    soft = SoftNMS(method="gaussian", sigma=1e-9)(*boxes, limit)
    hard = HardNMS(0)(*boxes, limit)
    assert_equal(soft, hard)
    assert 0 < len(hard[0]) < COUNT / 5


@pytest.mark.parametrize(
    "soft", [SoftNMS(threshold=1), SoftNMS(method="gaussian", sigma=1e30)], ids=["linear", "wide"]
)
def test_a_decay_of_nothing_is_nms_that_drops_nothing(soft):
    boxes = candidates()
    assert_equal(soft(*boxes, COUNT), HardNMS(1)(*boxes, COUNT))
    assert_close(soft(*boxes, COUNT)[1], boxes[1].sort(descending=True).values)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_where_doubles_are_copies_linear_decay_is_nms(threshold):
    """A copy has IoU 1, and loses all of its score; no other two boxes meet."""
    apart = torch.arange(20.0)[:, None] * 10 + torch.tensor([0.0, 0, 8, 8])
    boxes = apart.repeat(3, 1)
    scores = torch.linspace(0.9, 0.1, 60)[torch.randperm(60)]
    labels = torch.ones(60, dtype=torch.int64)
    soft = SoftNMS(threshold=threshold)(boxes, scores, labels, 60)
    assert_equal(soft, HardNMS(threshold)(boxes, scores, labels, 60))
    assert len(soft[0]) == 20


def test_a_neighbour_keeps_what_its_overlap_leaves_it():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 5]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 1, 2])
    kept, found = SoftNMS(threshold=0.3)(boxes, scores, labels, 3)
    assert kept.tolist() == [0, 2, 1]  # the second is of another class
    assert_close(found, torch.tensor([0.9, 0.7, 0.4]))
    assert HardNMS(0.3)(boxes, scores, labels, 3)[0].tolist() == [0, 2]
    _, found = SoftNMS(threshold=0.3, score_threshold=0.5)(boxes, scores, labels, 3)
    assert_close(found, torch.tensor([0.9, 0.7]))


@pytest.mark.parametrize("scoring", ["keep", "average", "maximum"])
def test_voting_alone_is_the_identity(scoring):
    """Every cluster has one box."""
    boxes, scores, labels = candidates()
    kept, _ = HardNMS(0)(boxes, scores, labels, COUNT)
    alone = boxes[kept], scores[kept], labels[kept]
    voted, rescored = BoxVoting(0.5, scoring)(alone[0], alone[1], torch.arange(len(kept)), alone[2])
    assert_close(voted, alone[0], rtol=1e-6, atol=0)
    assert (rescored is None) == (scoring == "keep")
    if rescored is not None:
        assert_close(rescored, alone[1])


def test_the_whole_cluster_votes_and_no_other_class():
    boxes, scores, labels = candidates()
    kept, _ = HardNMS(0.3)(boxes, scores, labels, 10)
    voted, _ = BoxVoting(0.6)(boxes, scores, kept, labels)
    for one, place in enumerate(kept.tolist()):
        near = (iou(boxes[place : place + 1], boxes)[0] >= 0.6) & (labels == labels[place])
        weights = (scores * near)[:, None]
        assert_close(voted[one], (boxes * weights).sum(0) / weights.sum())
    assert not torch.equal(voted, boxes[kept])
