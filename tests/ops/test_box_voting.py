"""box_voting against the definition, and by hand."""

import pytest
import torch
from test_nms import random_boxes

from rfcn.ops.box_voting import box_voting
from rfcn.ops.nms import nms
from rfcn.ops.reference import box_voting as reference

GOOD = random_boxes(4)
KEPT = torch.arange(2)


def check(boxes, scores, kept, tolerance=1e-5, **arguments):
    """The boxes and scores of the definition."""
    voted, rescored = box_voting(boxes, scores, kept, **arguments)
    expected, expected_scores = reference.box_voting(boxes, scores, kept, **arguments)
    assert voted.dtype == boxes.dtype
    assert rescored.dtype == scores.dtype
    torch.testing.assert_close(voted.double(), expected, atol=10 * tolerance, rtol=0)
    torch.testing.assert_close(rescored.double(), expected_scores, atol=tolerance, rtol=0)
    return voted, rescored


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("scoring", ["keep", "average", "maximum"])
@pytest.mark.parametrize("grouped", [False, True])
def test_matches_the_definition(dtype, tolerance, scoring, grouped):
    boxes, scores = random_boxes(200, 1, dtype)
    scores = scores.to(dtype)
    groups = torch.arange(200) % 3 if grouped else None
    kept = nms(boxes, scores, 0.4, groups=groups)
    for threshold in (0.0, 0.5, 0.7, 1.0):
        check(boxes, scores, kept, tolerance, threshold=threshold, groups=groups, scoring=scoring)


def test_keeping_the_score_is_the_default():
    boxes, scores = random_boxes(50, 2)
    kept = nms(boxes, scores, 0.3)
    assert torch.equal(box_voting(boxes, scores, kept)[1], scores[kept])


def test_nobody_votes_but_the_sound_of_mind():  # NaN and negative scores, strange boxes
    good = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4]])
    scores = torch.tensor([0.75, 0.25, 0.9, 0.9, 0.9, torch.nan, -1])
    nan, inf = torch.nan, torch.inf
    strange = torch.tensor([[nan, 0, 8, 8], [0, 0, inf, 8], [-inf, -inf, inf, inf]])
    boxes = torch.cat([good, strange, good[:1], good[:1]])
    for scoring in ("keep", "average", "maximum"):
        for threshold in (0.0, 0.5):
            voted, _ = check(boxes, scores, KEPT[:1], threshold=threshold, scoring=scoring)
            assert voted.tolist() == [[0, 0, 8, 7]]


@pytest.mark.parametrize("scoring", ["keep", "average", "maximum"])
def test_without_votes_a_box_stays(scoring):  # O22: an empty box meets nothing, itself neither
    boxes = torch.tensor([[5.0, 5, 5, 5], [9, 9, 1, 1], [0, 0, 4, 4], [-3e38, -3e38, 3e38, 3e38]])
    scores = torch.tensor([0.5, 0.25, 0, torch.nan])
    voted, rescored = box_voting(boxes, scores, torch.arange(4), scoring=scoring)
    assert torch.equal(voted, boxes)
    torch.testing.assert_close(rescored, scores, equal_nan=True)


def test_none_and_no_gradient():
    boxes, scores = random_boxes(9)
    for count in (0, 9):
        voted, rescored = box_voting(boxes[:count], scores[:count], torch.arange(0))
        assert voted.shape == (0, 4)
        assert rescored.shape == (0,)
    voted, rescored = box_voting(boxes.requires_grad_(), scores.requires_grad_(), torch.arange(9))
    assert not voted.requires_grad
    assert not rescored.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_in_half_precision(dtype):
    boxes, scores = random_boxes(80, 4)
    scores = scores.to(dtype)
    kept = nms(boxes, scores, 0.3)
    check(boxes, scores, kept, float(torch.finfo(dtype).eps), scoring="average")


@pytest.mark.parametrize(
    ("boxes", "scores", "kept", "more", "message"),
    [
        (GOOD[0][:, :3], GOOD[1], KEPT, {}, r"boxes: the shape must be \[\*, 4\]"),
        (GOOD[0], GOOD[1][:3], KEPT, {}, "scores: the shape"),
        (GOOD[0], GOOD[1], KEPT.float(), {}, "kept: must be int64 of shape .*, not float32"),
        (GOOD[0], GOOD[1], KEPT[None], {}, r"kept: must be int64 of shape \[K\]"),
        (GOOD[0], GOOD[1], KEPT.to("meta"), {}, "kept: must be on cpu"),
        (GOOD[0], GOOD[1], KEPT, {"threshold": 2.0}, "threshold: must be in 0..1, not 2"),
        (GOOD[0], GOOD[1], KEPT, {"scoring": "sum"}, "scoring: must be keep, average or maximum"),
        (GOOD[0], GOOD[1], KEPT, {"groups": KEPT}, r"groups: .*shape \[2\]"),
    ],
)
def test_refuses(boxes, scores, kept, more, message):
    with pytest.raises(ValueError, match=message):
        box_voting(boxes, scores, kept, **more)
