import numpy as np
import torch
from torch.testing import assert_close

from rfcn.models import matching
from rfcn.models.matching import IGNORED, match_anchors, match_rois

NO_BOXES = torch.zeros(0, 4)


def boxes_of(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def match(anchors, boxes, size=(100, 100), positive_iou=0.7, negative_iou=0.3):
    return match_anchors(anchors, boxes, size, positive_iou=positive_iou, negative_iou=negative_iou)


def test_anchor_labels_equal_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(0)
    seen = {-1: 0, 0: 0, 1: 0}
    for case in range(1000):
        whole = case % 2 == 1  # overlaps tie
        anchors = oracles.random_boxes(rng, 30, 40, whole=whole)
        boxes = oracles.random_boxes(rng, rng.integers(0, 5), 40, whole=whole)
        height, width = rng.integers(30, 60, 2).tolist()
        negative_iou, positive_iou = sorted(rng.uniform(0.1, 0.8, 2).tolist())
        labels, matched = match(
            torch.from_numpy(anchors),
            torch.from_numpy(boxes),
            (height, width),
            positive_iou,
            negative_iou,
        )
        expected = oracles.label_anchors(
            anchors.tolist(), boxes.tolist(), height, width, positive_iou, negative_iou
        )
        assert labels.tolist() == expected
        for index in (labels == 1).nonzero()[:, 0].tolist():
            winner, overlap = oracles.best_box(anchors[index].tolist(), boxes.tolist())
            chosen = oracles.iou(anchors[index].tolist(), boxes[matched[index]].tolist())
            assert matched[index] == winner or chosen == overlap
        for label in expected:
            seen[label] += 1
    assert min(seen.values()) > 500  # every kind of label was put to the test


def test_thresholds_include_the_positive_and_exclude_the_negative():
    box = boxes_of((0, 0, 10, 10))
    anchors = boxes_of((0, 0, 10, 10), (0, 0, 10, 7), (0, 0, 10, 3), (0, 0, 10, 2.9))
    assert match(anchors, box)[0].tolist() == [1, 1, IGNORED, 0]


def test_all_equally_best_anchors_of_a_box_are_positive():
    box = boxes_of((10, 10, 20, 20))
    anchors = boxes_of((5, 10, 15, 20), (15, 10, 25, 20), (16, 10, 26, 20))
    assert match(anchors, box)[0].tolist() == [1, 1, 0]


def test_an_anchor_that_leaves_the_picture_is_ignored():
    box = boxes_of((0, 0, 10, 10))
    anchors = boxes_of((0, 0, 10, 10), (-1, 0, 10, 10), (0, 0, 10, 21), (20, 10, 30, 20))
    labels, _ = match(anchors, box, size=(20, 30))
    assert labels.tolist() == [1, IGNORED, IGNORED, 0]


def test_an_ignored_anchor_does_not_take_the_best_place():
    """The best anchor inside the picture is positive though one outside overlaps more."""
    box = boxes_of((0, 0, 10, 10))
    anchors = boxes_of((-1, 0, 10, 10), (0, 0, 10, 5))
    assert match(anchors, box)[0].tolist() == [IGNORED, 1]


def test_without_boxes_every_anchor_inside_is_negative():
    anchors = boxes_of((0, 0, 10, 10), (95, 0, 105, 10))
    labels, matched = match(anchors, NO_BOXES)
    assert labels.tolist() == [0, IGNORED]
    assert matched.tolist() == [0, 0]


def test_a_box_that_no_anchor_touches_makes_none_positive():
    assert match(boxes_of((0, 0, 10, 10)), boxes_of((50, 50, 60, 60)))[0].tolist() == [0]


def test_a_box_without_area_makes_none_positive():
    anchors = boxes_of((0, 0, 10, 10), (4, 4, 6, 6))
    assert match(anchors, boxes_of((5, 5, 5, 5)))[0].tolist() == [0, 0]


def test_rois_equal_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(1)
    for _ in range(1000):
        rois = oracles.random_boxes(rng, 8, 40)
        boxes = oracles.random_boxes(rng, rng.integers(1, 5), 40)
        labels = rng.integers(1, 21, len(boxes))
        overlap, matched, found = match_rois(
            torch.from_numpy(rois), torch.from_numpy(boxes), torch.from_numpy(labels)
        )
        expected = [oracles.best_box(roi, boxes.tolist()) for roi in rois.tolist()]
        assert_close(overlap, torch.tensor([o for _, o in expected]), rtol=0, atol=1e-5)
        touching = (overlap > 0).numpy()
        winners = np.array([winner for winner, _ in expected])
        assert (matched.numpy() == winners)[touching].all()
        assert (found.numpy() == labels[winners])[touching].all()


def test_rois_without_boxes():
    overlap, matched, labels = match_rois(
        boxes_of((0, 0, 1, 1), (0, 0, 2, 2)), NO_BOXES, torch.zeros(0, dtype=torch.int64)
    )
    assert overlap.tolist() == [0, 0]
    assert matched.tolist() == labels.tolist() == [0, 0]
    assert labels.dtype == matched.dtype == torch.int64


def test_no_rois():
    overlap, matched, labels = match_rois(NO_BOXES, boxes_of((0, 0, 1, 1)), torch.tensor([4]))
    assert overlap.shape == matched.shape == labels.shape == (0,)


# V24
def test_v24_portions_of_any_size_give_the_same_to_the_bit(monkeypatch, oracles):
    rng = np.random.default_rng(1)
    anchors, boxes = oracles.random_boxes(rng, 60, 40), oracles.random_boxes(rng, 7, 40)
    anchors, boxes = torch.as_tensor(anchors).float(), torch.as_tensor(boxes).float()
    labels = torch.arange(7)
    whole = match(anchors, boxes, (60, 60)), match_rois(anchors, boxes, labels)
    for pairs in (1, 7, 50, 7 * 59):
        monkeypatch.setattr(matching, "PAIRS_AT_ONCE", pairs)
        parts = match(anchors, boxes, (60, 60)), match_rois(anchors, boxes, labels)
        for one, other in zip(parts, whole, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
