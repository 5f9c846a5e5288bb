"""The pure functions, against numbers worked out by hand."""

import numpy as np
import pytest

from rfcn.evaluation import average_precision as module
from rfcn.evaluation.average_precision import (
    DEVKIT_TENTHS,
    TENTHS,
    ClassDetections,
    ClassTruths,
    average_precision,
    best_overlaps,
    voc_ap,
)


def found(boxes, scores, pictures):
    return ClassDetections(
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(scores, dtype=float),
        np.array(pictures, dtype=np.int64),
    )


def truths(boxes, pictures, difficult=None):
    return ClassTruths(
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(difficult or [False] * len(pictures), dtype=bool),
        np.array(pictures, dtype=np.int64),
    )


def test_e6_both_averages_of_a_curve_by_hand():
    """Right, wrong, right with 4 to find: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2."""
    recall = np.array([0.25, 0.25, 0.5])
    precision = np.array([1, 0.5, 2 / 3])
    assert average_precision(recall, precision, "area") == pytest.approx(0.25 + 0.25 * 2 / 3)
    # Points 0, 0.1, 0.2 see 1; 0.3, 0.4, 0.5 see 2/3; the other five see nothing.
    assert average_precision(recall, precision, "11-point") == pytest.approx((3 + 3 * 2 / 3) / 11)


def test_e6_recall_of_exactly_a_tenth_counts_unless_the_devkit_is_reproduced():
    recall, precision = np.array([9 / 15]), np.array([1.0])
    assert average_precision(recall, precision, "11-point") == pytest.approx(7 / 11)
    points = {"recall_points": DEVKIT_TENTHS}
    assert average_precision(recall, precision, "11-point", **points) == pytest.approx(6 / 11)


def test_tenths_are_the_nearest_floats():
    assert TENTHS.tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert DEVKIT_TENTHS.tolist() == [index * 0.1 for index in range(11)]


@pytest.mark.parametrize("method", ["area", "11-point"])
def test_e1_an_empty_curve_has_ap_zero(method):
    assert average_precision(np.zeros(0), np.zeros(0), method) == 0


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        average_precision(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="'trapezoid'"):
        average_precision(np.zeros(2), np.zeros(2), "trapezoid")


def test_overlaps_stay_inside_the_picture_and_ties_go_to_the_first_box():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 20]]
    overlap, nearest = best_overlaps(
        found(
            [[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 10], [50, 50, 60, 60]],
            [1] * 4,
            [1, 1, 0, 2],
        ),
        truths(boxes, [1, 1, 2]),
    )
    assert overlap.tolist() == [1, 0.5, 0, 0]
    assert nearest.tolist() == [0, 0, -1, 2]


def test_inclusive_corners_add_a_pixel():
    a, b = found([[0, 0, 9, 9]], [1], [0]), truths([[0, 0, 9, 4]], [0])
    assert best_overlaps(a, b)[0] == pytest.approx(36 / 81)
    assert best_overlaps(a, b, inclusive=True)[0] == pytest.approx(50 / 100)


def test_boxes_without_area_overlap_nothing():
    overlap, _ = best_overlaps(found([[3, 3, 3, 3]], [1], [0]), truths([[3, 3, 3, 3]], [0]))
    assert overlap.tolist() == [0]
    (curve,) = voc_ap(found([[3, 3, 3, 3]], [1], [0]), truths([[3, 3, 3, 3]], [0]))
    assert curve.ap == 0


def test_chunks_do_not_change_the_result(monkeypatch):
    generator = np.random.default_rng(0)

    def boxes(count):
        corner = generator.uniform(0, 50, (count, 2))
        return np.hstack([corner, corner + generator.uniform(1, 50, (count, 2))])

    many = found(boxes(200), generator.random(200), generator.integers(0, 9, 200))
    true = truths(boxes(60), generator.integers(0, 7, 60))
    whole = best_overlaps(many, true)
    for pairs in (1, 7, 64):
        monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs)
        cut = best_overlaps(many, true)
        assert np.array_equal(whole[0], cut[0])
        assert np.array_equal(whole[1], cut[1])


def test_a_detection_clings_to_its_best_box_even_when_that_is_taken():
    """VOC's rule: the second detection overlaps a free box by 0.55, but the taken one by more."""
    true = truths([[0, 0, 100, 10], [40, 0, 140, 10]], [0, 0])
    curve = voc_ap(found([[0, 0, 100, 10], [15, 0, 115, 10]], [0.9, 0.8], [0, 0]), true)[0]
    assert curve.recall.tolist() == [0.5, 0.5]
    assert curve.precision.tolist() == [1, 0.5]


def test_the_threshold_itself_is_enough():
    true = truths([[0, 0, 10, 10]], [0])
    half = found([[0, 0, 10, 5]], [1], [0])
    at, above = voc_ap(half, true, iou_thresholds=(0.5, 0.5000001))
    assert (at.ap, above.ap) == (1, 0)
    assert (at.iou_threshold, above.iou_threshold) == (0.5, 0.5000001)
