"""The arithmetic of COCO's metric on arrays: against pycocotools, and by hand."""

import numpy as np
import pytest

from rfcn.evaluation import coco_matching as module
from rfcn.evaluation.coco_matching import COCODetections, COCOTruths, coco_figures
from rfcn.evaluation.coco_official import official_figures


def arrays(truth, results):
    """A set in COCO's form as arrays; its pictures by rising id."""
    pictures = sorted(one["id"] for one in truth["images"])
    classes = sorted(one["id"] for one in truth["categories"])

    def columns(rows):
        boxes = np.array([one["bbox"] for one in rows], dtype=np.float64).reshape(-1, 4)
        labels = np.array([classes.index(one["category_id"]) for one in rows], dtype=np.int64)
        places = np.array([pictures.index(one["image_id"]) for one in rows], dtype=np.int64)
        return boxes, labels, places

    boxes, labels, places = columns(results)
    scores = np.array([one["score"] for one in results], dtype=np.float64)
    detections = COCODetections(boxes, scores, labels, places)
    rows = truth["annotations"]
    boxes, labels, places = columns(rows)
    areas = np.array([one["area"] for one in rows], dtype=np.float64)
    crowd = np.array([one["iscrowd"] for one in rows], dtype=bool)
    return detections, COCOTruths(boxes, areas, crowd, labels, places), len(classes)


def equal(ours, theirs):
    for name in ("precision", "recall", "required"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("limits", [(1, 10, 100), (1, 2, 3)])
def test_tables_are_those_of_pycocotools(coco_set, limits):
    for seed in range(100, 120):
        detections, truths, classes = arrays(*coco_set(seed))
        options = {"classes": classes, "max_detections": limits}
        ours = coco_figures(detections, truths, **options)
        equal(ours, official_figures(detections, truths, **options))


def test_little_memory_changes_nothing(coco_set, monkeypatch):
    detections, truths, classes = arrays(*coco_set(36))
    assert len(detections.scores) * len(truths.areas) > 500
    whole = coco_figures(detections, truths, classes=classes)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 5)
    parts = coco_figures(detections, truths, classes=classes)
    equal(parts, whole)
    np.testing.assert_array_equal(parts.scores, whole.scores)


def test_the_better_of_two_boxes_is_taken_though_the_other_fits_nobody_else():
    """Both detections overlap box 0 best (1 and 0.9); the second is left with box 1 (0.5)."""
    truths = COCOTruths(
        boxes=np.array([[0.0, 0, 10, 10], [0, 0, 10, 5]]),
        areas=np.array([100.0, 50]),
        crowd=np.zeros(2, dtype=bool),
        labels=np.zeros(2, dtype=np.int64),
        pictures=np.zeros(2, dtype=np.int64),
    )
    detections = COCODetections(
        boxes=np.array([[0.0, 0, 10, 10], [0, 0, 10, 9]]),
        scores=np.array([0.9, 0.8]),
        labels=np.zeros(2, dtype=np.int64),
        pictures=np.zeros(2, dtype=np.int64),
    )
    recall = coco_figures(detections, truths, classes=1).recall[:, 0, 0]
    # 5/9 = 0.556: enough at 0.5 and 0.55
    assert recall[:, 2].tolist() == [1, 1] + [0.5] * 8
    assert recall[:, 0].tolist() == [0.5] * 10


def test_a_box_out_of_the_range_of_area_is_taken_only_when_there_is_no_other():
    truths = COCOTruths(
        boxes=np.array([[0.0, 0, 30, 30], [0, 0, 30, 35]]),
        areas=np.array([900.0, 1050]),
        crowd=np.zeros(2, dtype=bool),
        labels=np.zeros(2, dtype=np.int64),
        pictures=np.zeros(2, dtype=np.int64),
    )
    detections = COCODetections(
        np.array([[0.0, 0, 30, 35]]), np.ones(1), np.zeros(1, np.int64), np.zeros(1, np.int64)
    )
    figures = coco_figures(detections, truths, classes=1)
    # among the small it takes the small one (IoU 0.857), though it overlaps the other by 1
    assert figures.recall[:, 0, 1, 2].tolist() == [1] * 8 + [0] * 2
    assert figures.required.tolist() == [[2, 1, 1, 0]]
    assert np.isnan(figures.recall[:, 0, 3]).all()
