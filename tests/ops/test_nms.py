"""nms: both backends against brute force, in every corner."""

import pytest
import torch
import torchvision

from rfcn.ops.nms import batched_nms, nms
from rfcn.ops.reference import nms as reference


def random_boxes(count, seed=0, dtype=torch.float32, spread=60.0):
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=g, dtype=dtype) * spread
    sides = torch.rand(count, 2, generator=g, dtype=dtype) * 30
    return torch.cat([corners, corners + sides], dim=1), torch.rand(count, generator=g)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_matches_brute_force(backend, seed, threshold, dtype):
    boxes, scores = random_boxes(150, seed, dtype)
    assert nms(boxes, scores, threshold).tolist() == reference.nms(boxes, scores, threshold)


def test_whole_number_boxes_on_the_threshold(backend):
    g = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 6, (200, 2), generator=g)
    boxes = torch.cat([corners, corners + torch.randint(0, 6, (200, 2), generator=g)], 1).float()
    scores = torch.randint(0, 5, (200,), generator=g) / 4
    for threshold in (0.25, 1 / 3, 0.5, 2 / 3, 0.75):
        # a float32 threshold, since the compiled form compares in the dtype of the boxes
        exact = float(torch.tensor(threshold, dtype=torch.float32))
        assert nms(boxes, scores, exact).tolist() == reference.nms(boxes, scores, exact)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_an_iou_equal_to_the_threshold_lets_live(backend, tenths):
    boxes = torch.tensor(
        [[0.0, 0, 10, 1], [0, 0, tenths, 1]]
    )  # IoU: tenths / 10, correctly rounded
    assert nms(boxes, torch.tensor([1.0, 0.5]), tenths / 10).tolist() == [0, 1]


@pytest.mark.parametrize("limit", [0, 1, 5, 63, 64, 65, 1000])
def test_stops_at_the_limit(backend, limit):
    boxes, scores = random_boxes(300, 1, spread=500.0)
    everything = nms(boxes, scores, 0.5).tolist()
    assert len(everything) > 130
    assert nms(boxes, scores, 0.5, limit=limit).tolist() == everything[:limit]


def test_groups_do_not_meet(backend):
    boxes, scores = random_boxes(200, 2)
    groups = torch.tensor([-5, 0, 7, 2**40])[torch.randint(0, 4, (200,))]
    found = nms(boxes, scores, 0.4, groups=groups)
    assert found.tolist() == reference.nms(boxes, scores, 0.4, groups)
    alone = [
        index[nms(boxes[index], scores[index], 0.4)]
        for index in ((groups == group).nonzero()[:, 0] for group in groups.unique())
    ]
    assert sorted(found.tolist()) == sorted(torch.cat(alone).tolist())
    few = nms(boxes, scores, 0.4, groups=groups, limit=9)
    assert few.tolist() == found[:9].tolist()


def test_batched_nms_is_torchvisions(backend):
    g = torch.Generator().manual_seed(5)
    corners = torch.randint(
        0, 99, (400, 2), generator=g
    )  # whole numbers: theirs are shifted exactly
    boxes = torch.cat([corners, corners + torch.randint(1, 40, (400, 2), generator=g)], 1).float()
    scores, groups = torch.rand(400, generator=g), torch.randint(0, 7, (400,), generator=g)
    for threshold in (0.31, 0.7):
        found = batched_nms(boxes, scores, groups, threshold)
        theirs = torchvision.ops.batched_nms(boxes, scores, groups, threshold)
        assert torch.equal(found, theirs)
        assert torch.equal(found, nms(boxes, scores, threshold, groups=groups))
        assert torch.equal(batched_nms(boxes, scores, groups, threshold, limit=9), found[:9])


def test_ties_keep_the_lower_index(backend):  # O21
    box = torch.tensor([[0.0, 0, 10, 10]])
    assert nms(box.repeat(500, 1), torch.ones(500), 0.5).tolist() == [0]
    apart = torch.arange(500.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    assert nms(apart, torch.ones(500), 0.5).tolist() == list(range(500))


def test_equal_boxes_survive_threshold_one(backend):  # O21
    box = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    assert nms(box, torch.tensor([0.1, 0.3, 0.2]), 1.0).tolist() == [1, 2, 0]


def test_threshold_zero_lets_touching_boxes_live(backend):  # O21
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [9, 9, 12, 12]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.0).tolist() == [0, 1]


def test_nan_scores_are_dropped(backend):  # O21
    boxes, scores = random_boxes(50, 3)
    scores[::4] = torch.nan
    found = nms(boxes, scores, 0.5)
    assert found.tolist() == reference.nms(boxes, scores, 0.5)
    assert not scores[found].isnan().any()
    assert nms(boxes, torch.full((50,), torch.nan), 0.5).tolist() == []


def test_infinite_scores_come_first(backend):
    boxes = torch.arange(3.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.tensor([-torch.inf, 1.0, torch.inf])
    assert nms(boxes, scores, 0.5).tolist() == [2, 1, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(backend, count):  # O21
    boxes, scores = random_boxes(count)
    found = nms(boxes, scores, 0.5, groups=torch.zeros(count, dtype=torch.int64))
    assert found.dtype == torch.int64
    assert found.tolist() == list(range(count))


def test_strange_boxes_suppress_nothing(backend):  # O22: empty, reversed, huge, NaN
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
    assert nms(boxes, scores, 0.5).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_many_boxes(compiled):  # O21: 1e5 boxes, all far apart; keeping all is the longest way
    g = torch.Generator().manual_seed(0)
    corners = torch.rand(100_000, 2, generator=g) * 1e6
    boxes = torch.cat([corners, corners + 1], dim=1)
    assert len(nms(boxes, torch.rand(100_000, generator=g), 0.5, limit=20_000)) == 20_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_other_dtypes(backend, dtype):
    boxes, scores = random_boxes(80, 4)
    scores = scores.to(dtype)
    assert nms(boxes, scores, 0.5).tolist() == reference.nms(boxes, scores, 0.5)


def test_inputs_may_be_views_and_carry_gradients(backend):
    boxes, scores = random_boxes(80, 5)
    expected = nms(boxes, scores, 0.5)
    found = nms(boxes.t().contiguous().t().requires_grad_(), scores.requires_grad_(), 0.5)
    assert torch.equal(found, expected)
    with torch.inference_mode():
        assert torch.equal(nms(boxes, scores, 0.5), expected)


GOOD = random_boxes(4)
INTEGERS = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "more", "message"),
    [
        (GOOD[0][:, :3], GOOD[1], 0.5, {}, r"boxes: the shape must be \[\*, 4\]"),
        (GOOD[0].half(), GOOD[1], 0.5, {}, "boxes: dtype must be float32 or float64, not float16"),
        (GOOD[0], GOOD[1][:3], 0.5, {}, "scores: the shape"),
        (GOOD[0], INTEGERS, 0.5, {}, "scores: dtype"),
        (GOOD[0], GOOD[1].to("meta"), 0.5, {}, "scores: must be on cpu"),
        (GOOD[0], GOOD[1], 1.5, {}, "threshold: must be in 0..1, not 1.5"),
        (GOOD[0], GOOD[1], -0.1, {}, "threshold"),
        (GOOD[0], GOOD[1], float("nan"), {}, "threshold"),
        (GOOD[0], GOOD[1], 0.5, {"limit": -1}, "limit: must be 0 or more"),
        (GOOD[0], GOOD[1], 0.5, {"groups": INTEGERS.int()}, "groups: must be int64"),
        (GOOD[0], GOOD[1], 0.5, {"groups": INTEGERS[:2]}, r"groups: .*shape \[2\]"),
        (GOOD[0], GOOD[1], 0.5, {"groups": INTEGERS.to("meta")}, "groups: must be on cpu"),
    ],
)
def test_refuses(backend, boxes, scores, threshold, more, message):
    with pytest.raises(ValueError, match=message):
        nms(boxes, scores, threshold, **more)


def test_opcheck(compiled):
    boxes, _ = random_boxes(20)
    groups = torch.zeros(20, dtype=torch.int64)
    torch.library.opcheck(torch.ops.rfcn.nms.default, (boxes, groups, 0.5, 3))
