import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.models.postprocess import PostProcess
from rfcn.models.suppression import BoxVoting, HardNMS, SoftNMS
from rfcn.structures import Candidates, ImageBatch, RoIOutputs

STD = (0.1, 0.1, 0.2, 0.2)


def batch_of(sizes, original_sizes=None):
    return ImageBatch(torch.zeros(0), list(sizes), list(original_sizes or sizes))


def certain_of(*labels, classes=2):
    """Logits of RoIs that are sure of their label."""
    return torch.nn.functional.one_hot(torch.tensor(labels), classes + 1) * 20.0


@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_detections_equal_the_slow_version_on_1000_random_cases(box_sets, oracles):
    rng = np.random.default_rng(box_sets)
    total = 0
    for _ in range(334):
        counts = rng.integers(0, 12, 2).tolist()
        sizes = [tuple(rng.integers(40, 90, 2).tolist()) for _ in counts]
        original_sizes = [tuple(rng.integers(40, 200, 2).tolist()) for _ in counts]
        proposals = [oracles.random_boxes(rng, one, 60) for one in counts]
        logits = rng.normal(0, 1, (sum(counts), 4)).astype(np.float32)
        deltas = rng.normal(0, 2, (sum(counts), box_sets, 4)).astype(np.float32)
        settings = {"score_threshold": 0.15, "nms_threshold": 0.4}
        suppression = HardNMS(settings["nms_threshold"])
        most = int(rng.integers(1, 20))
        found = PostProcess(
            score_threshold=settings["score_threshold"], suppression=suppression,
            max_detections=most, box_std=STD,
        )(
            RoIOutputs(torch.from_numpy(logits), torch.from_numpy(deltas)),
            [torch.from_numpy(one) for one in proposals],
            batch_of(sizes, original_sizes),
        )  # fmt: skip
        start = 0
        for picture, count in enumerate(counts):
            rows = slice(start, start + count)
            start += count
            expected = oracles.detect(
                logits[rows].tolist(), deltas[rows].tolist(), proposals[picture].tolist(),
                sizes[picture], original_sizes[picture], STD, **settings, count=most,
            )  # fmt: skip
            total += len(expected)
            detections = found[picture]
            assert detections.labels.tolist() == [label for _, label, _ in expected]
            assert_close(detections.scores, torch.tensor([score for score, _, _ in expected]))
            boxes = torch.tensor([box for _, _, box in expected], dtype=torch.float32).view(-1, 4)
            assert_close(detections.boxes, boxes, rtol=1e-4, atol=1e-2)
    assert total > 2000


def test_boxes_are_in_pixels_of_the_original_picture():
    proposals = [torch.tensor([[20.0, 30, 60, 90]])]
    [found] = PostProcess()(
        RoIOutputs(certain_of(1), torch.zeros(1, 2, 4)),
        proposals,
        batch_of([(300, 200)], [(100, 100)]),
    )
    assert_close(found.boxes[:1], torch.tensor([[10.0, 10, 30, 30]]))
    assert found.labels[0] == 1


def test_only_boxes_of_one_class_suppress_each_other():
    same = torch.tensor([[0.0, 0, 50, 50]] * 3)
    logits = certain_of(1, 1, 2)
    logits[0] *= 0.5  # less sure
    [found] = PostProcess(score_threshold=0.5)(
        RoIOutputs(logits, torch.zeros(3, 2, 4)), [same], batch_of([(60, 60)])
    )
    assert sorted(found.labels.tolist()) == [1, 2]
    assert_close(found.scores, torch.ones(2), rtol=0, atol=1e-6)


def test_each_class_reads_its_own_box_set():
    deltas = torch.zeros(1, 3, 4)
    deltas[0, 1, 0], deltas[0, 2, 0] = 1, 2  # a tenth, two tenths of the width to the right
    logits = torch.tensor([[0.0, 3, 3]])
    [found] = PostProcess(score_threshold=0.1)(
        RoIOutputs(logits, deltas), [torch.tensor([[0.0, 0, 100, 100]])], batch_of([(300, 300)])
    )
    by_label = dict(zip(found.labels.tolist(), found.boxes[:, 0].tolist(), strict=True))
    assert by_label == pytest.approx({1: 10, 2: 20})


def test_the_threshold_excludes_itself():
    outputs = RoIOutputs(torch.zeros(1, 2), torch.zeros(1, 1, 4))  # a score of exactly 0.5
    where = [torch.tensor([[0.0, 0, 9, 9]])], batch_of([(9, 9)])
    assert len(PostProcess(score_threshold=0.5)(outputs, *where)[0]) == 0
    assert len(PostProcess(score_threshold=0.4999)(outputs, *where)[0]) == 1


def test_no_proposals_no_detections():
    """T7."""
    empty = torch.zeros(0, 4)
    found = PostProcess()(
        RoIOutputs(torch.zeros(0, 3), torch.zeros(0, 2, 4)), [empty, empty], batch_of([(9, 9)] * 2)
    )
    assert [len(one) for one in found] == [0, 0]
    assert found[0].boxes.shape == (0, 4)
    assert found[0].labels.dtype == torch.int64


@pytest.mark.parametrize("wild", [1e4, -1e4, math.inf])
def test_wild_offsets_stay_inside_the_picture(wild):
    """T8."""
    [found] = PostProcess()(
        RoIOutputs(certain_of(1), torch.tensor([0, 0, wild, wild]).expand(1, 2, 4)),
        [torch.tensor([[2.0, 2, 6, 6]])],
        batch_of([(20, 30)]),
    )
    assert found.boxes.isfinite().all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([30, 20, 30, 20])).all()


def test_detections_know_the_proposal_they_came_from():
    proposals = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
    logits = certain_of(0, 2, 1)
    logits[1] *= 0.5  # less sure, so it comes second
    [found] = PostProcess(score_threshold=0.5)(
        RoIOutputs(logits, torch.zeros(3, 2, 4)), [proposals], batch_of([(60, 60)])
    )
    assert found.rois.tolist() == [2, 1]
    assert_close(found.boxes, proposals[found.rois])


# -------------------------------------------------------------- other choices among the doubles


def one_class(*scores):
    """Boxes of one class and one object: the first and the second nearly the same, the last apart;
    the third the same as the first but of no score worth a look."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor(scores)
    return Candidates(boxes[:, None], torch.stack([1 - scores, scores], dim=1), torch.arange(4) + 5)


def test_soft_nms_lowers_scores_and_orders_by_them():
    """What is below the threshold has no say, nor comes back."""
    found = PostProcess(suppression=SoftNMS()).select(one_class(0.9, 0.8, 5e-4, 0.6))
    assert found.rois.tolist() == [5, 8, 6]
    assert_close(found.scores, torch.tensor([0.9, 0.6, 0.08]))
    assert_close(found.boxes[2], torch.tensor([0.0, 0, 10, 9]))
    limited = PostProcess(suppression=SoftNMS(), max_detections=2)
    assert limited.select(one_class(0.9, 0.8, 5e-4, 0.6)).rois.tolist() == [5, 8]


@pytest.mark.parametrize(
    ("scoring", "scores"), [("keep", [0.9, 0.6]), ("average", [0.5, 0.6]), ("maximum", [0.9, 0.6])]
)
def test_what_was_dropped_votes_on_what_was_kept(scoring, scores):
    post = PostProcess(box_voting=BoxVoting(0.5, scoring))
    found = post.select(one_class(0.9, 0.1, 5e-4, 0.6))
    voted = torch.tensor([0.0, 0, 10, (0.9 * 10 + 0.1 * 9) / 1.0])
    by_roi = dict(zip(found.rois.tolist(), found.boxes, strict=True))
    assert_close(by_roi[5], voted)
    assert_close(by_roi[8], torch.tensor([50.0, 50, 60, 60]))
    assert_close(found.scores, torch.tensor(sorted(scores, reverse=True)))
    assert found.rois.tolist() == ([8, 5] if scoring == "average" else [5, 8])


@pytest.mark.parametrize("suppression", [HardNMS(), SoftNMS(), SoftNMS(method="gaussian")])
@pytest.mark.parametrize("scoring", ["keep", "average", "maximum"])
def test_nothing_to_choose_from(suppression, scoring):
    """T7."""
    post = PostProcess(suppression=suppression, box_voting=BoxVoting(0.5, scoring))
    found = post.select(one_class(0.0, 0.0, 0.0, 0.0))
    assert found.boxes.shape == (0, 4)
    assert (len(found), found.labels.dtype) == (0, torch.int64)
