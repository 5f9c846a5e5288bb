"""soft_nms: both backends against the definition, in every corner."""

import pytest
import torch
from test_nms import random_boxes

from rfcn.ops.nms import nms
from rfcn.ops.reference import soft_nms as reference
from rfcn.ops.soft_nms import soft_nms

METHODS = ["linear", "gaussian"]


def check(boxes, scores, tolerance=1e-6, **arguments):
    """The same boxes in the same order, with the scores of the definition."""
    indices, rescored = soft_nms(boxes, scores, **arguments)
    expected, expected_scores = reference.soft_nms(boxes, scores, **arguments)
    assert indices.dtype == torch.int64
    assert rescored.dtype == scores.dtype
    assert indices.tolist() == expected
    expected_scores = torch.tensor(expected_scores, dtype=torch.float64)
    assert (rescored.double() - expected_scores).abs().le(tolerance).all()
    return indices, rescored


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_matches_the_definition(backend, seed, method, dtype, tolerance):
    boxes, scores = random_boxes(150, seed, dtype)
    scores = scores.to(dtype)
    for numbers in ({}, {"threshold": 0.6, "sigma": 0.1, "score_threshold": 0.2}):
        check(boxes, scores, tolerance, method=method, **numbers)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [None, 0, 1, 17, 1000])
def test_groups_do_not_meet(backend, method, limit):
    boxes, scores = random_boxes(200, 2)
    groups = torch.tensor([-5, 0, 7, 2**40])[torch.randint(0, 4, (200,))]
    check(boxes, scores, method=method, groups=groups, limit=limit)


def test_more_boxes_than_one_sweep(backend):
    boxes, scores = random_boxes(500, 4, spread=150.0)
    for method in METHODS:
        indices, _ = check(boxes, scores, method=method, score_threshold=0.01, limit=200)
        assert len(indices) == 200


@pytest.mark.parametrize("method", METHODS)
def test_ties_take_the_lower_index(backend, method):  # O21
    box = torch.tensor([[0.0, 0, 10, 10]])
    indices, scores = check(box.repeat(9, 1), torch.ones(9), method=method, score_threshold=0.1)
    assert indices.tolist() == ([0] if method == "linear" else [0, 1])  # 1, then exp(-2)
    apart = torch.arange(500.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    indices, scores = soft_nms(apart, torch.ones(500), method=method)
    assert indices.tolist() == list(range(500))
    assert torch.equal(scores, torch.ones(500))
    few, _ = soft_nms(apart, torch.ones(500), method=method, limit=3, groups=-torch.arange(500))
    assert few.tolist() == [0, 1, 2]


def test_threshold_one_costs_nothing_and_zero_costs_every_overlap(backend):  # O21
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 0, 10, 10], [9, 9, 12, 12]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert torch.equal(soft_nms(boxes, scores, threshold=1.0)[1], scores)
    indices, rescored = check(boxes, scores, threshold=0.0)
    assert indices.tolist() == [0, 1, 3]
    assert rescored[2] < 0.6


def test_nan_and_low_scores_are_dropped(backend):  # O21
    boxes, scores = random_boxes(50, 3)
    scores[::4] = torch.nan
    scores[1::4] = 1e-4
    indices, _ = check(boxes, scores)
    assert not scores[indices].isnan().any()
    assert indices.remainder(4).gt(1).all()
    none, no_scores = soft_nms(boxes, torch.full((50,), torch.nan))
    assert none.tolist() == no_scores.tolist() == []


def test_a_score_that_falls_to_zero_is_taken_where_zero_is_enough(backend):
    box = torch.tensor([[0.0, 0, 10, 10]]).repeat(2, 1)
    indices, scores = soft_nms(box, torch.tensor([0.5, 1.0]), score_threshold=0.0)
    assert indices.tolist() == [1, 0]
    assert scores.tolist() == [1, 0]


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_none_and_one(backend, method, count):  # O21
    boxes, scores = random_boxes(count)
    for groups in (None, torch.zeros(count, dtype=torch.int64)):
        indices, rescored = soft_nms(boxes, scores, method=method, groups=groups)
        assert indices.tolist() == list(range(count))
        assert torch.equal(rescored, scores)


@pytest.mark.parametrize("method", METHODS)
def test_strange_boxes_lower_nothing(backend, method):  # O22: empty, reversed, huge, NaN
    boxes = torch.tensor(
        [
            [5.0, 5, 5, 5],
            [5, 5, 5, 5],
            [9, 9, 1, 1],
            [torch.nan, 0, 9, 9],
            [0, 0, 10, 10],
            [-3e38, -3e38, 3e38, 3e38],
            [0, 0, torch.inf, 9],
        ]
    )
    scores = torch.linspace(1, 0.1, 7)
    indices, rescored = soft_nms(boxes, scores, method=method, threshold=0.0)
    assert indices.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert torch.equal(rescored, scores)


def test_many_boxes(compiled):  # O21: 1e5 boxes; the limit bounds the work
    g = torch.Generator().manual_seed(0)
    corners = torch.rand(100_000, 2, generator=g) * 1e6
    boxes = torch.cat([corners, corners + 1], dim=1)
    indices, _ = soft_nms(boxes, torch.rand(100_000, generator=g), limit=300)
    assert len(indices) == 300


def test_without_overlap_above_the_threshold_it_is_nms_that_forgets_nothing(backend):
    boxes, scores = random_boxes(100, 6, spread=1000.0)
    alone = nms(boxes, scores, 0.0)
    indices, rescored = soft_nms(boxes[alone], scores[alone])
    assert torch.equal(indices, torch.arange(len(alone)))
    assert torch.equal(rescored, scores[alone])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_other_dtypes(backend, dtype):
    boxes, scores = random_boxes(80, 4)
    check(boxes, scores.to(dtype), tolerance=float(torch.finfo(dtype).eps))


@pytest.mark.parametrize("method", METHODS)
def test_same_bits_at_every_thread_count(compiled, method):  # O20
    boxes, scores = random_boxes(2000, 8, spread=300.0)
    groups = torch.randint(0, 20, (2000,))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, before):
        torch.set_num_threads(threads)
        found.append(soft_nms(boxes, scores, method=method, groups=groups))
    torch.set_num_threads(before)
    for indices, rescored in found[1:]:
        assert torch.equal(indices, found[0][0])
        assert torch.equal(rescored, found[0][1])


def test_inputs_may_be_views_and_carry_gradients(backend):
    boxes, scores = random_boxes(80, 5)
    expected = soft_nms(boxes, scores)
    strided = torch.stack([scores, scores], dim=1)[:, 0].requires_grad_()
    found = soft_nms(boxes.t().contiguous().t().requires_grad_(), strided)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert not found[1].requires_grad


GOOD = random_boxes(4)


@pytest.mark.parametrize(
    ("boxes", "scores", "more", "message"),
    [
        (GOOD[0][:, :3], GOOD[1], {}, r"boxes: the shape must be \[\*, 4\]"),
        (GOOD[0], GOOD[1][:3], {}, "scores: the shape"),
        (GOOD[0], GOOD[1].long(), {}, "scores: dtype"),
        (GOOD[0], GOOD[1], {"method": "cubic"}, "method: must be linear or gaussian, not 'cubic'"),
        (GOOD[0], GOOD[1], {"threshold": 1.5}, "threshold: must be in 0..1, not 1.5"),
        (GOOD[0], GOOD[1], {"sigma": 0.0}, "sigma: must be a positive number, not 0"),
        (GOOD[0], GOOD[1], {"sigma": float("nan")}, "sigma"),
        (GOOD[0], GOOD[1], {"score_threshold": -0.1}, "score_threshold: must be 0 or more"),
        (GOOD[0], GOOD[1], {"limit": -1}, "limit: must be 0 or more"),
        (GOOD[0], GOOD[1], {"groups": torch.zeros(2).long()}, r"groups: .*shape \[2\]"),
    ],
)
def test_refuses(backend, boxes, scores, more, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(boxes, scores, **more)


def test_opcheck(compiled):
    boxes, scores = random_boxes(20)
    groups = torch.arange(20) // 7
    call = torch.ops.rfcn.soft_nms.default
    torch.library.opcheck(call, (boxes, scores, groups, 0, 0.3, 0.5, 0.001, -1))
    torch.library.opcheck(call, (boxes, scores, None, 1, 0.3, 0.5, 0.001, 3))


def test_a_direct_call_is_guarded(compiled):
    boxes, scores = random_boxes(20)
    rules = (0.3, 0.5, 0.001, -1)
    with pytest.raises(RuntimeError, match="decay must be 0"):
        torch.ops.rfcn.soft_nms(boxes, scores, None, 2, *rules)
    with pytest.raises(RuntimeError, match="of the dtype of the boxes"):
        torch.ops.rfcn.soft_nms(boxes, scores.double(), None, 0, *rules)
    with pytest.raises(RuntimeError, match="groups must be"):
        torch.ops.rfcn.soft_nms(boxes, scores, torch.zeros(3).long(), 0, *rules)
