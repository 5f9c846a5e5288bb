"""Frames at known pixels, on pictures of every shape."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfcn.structures import Detections, Target
from rfcn.visualization.colours import class_colour
from rfcn.visualization.draw import BoxStyle, _dashes, draw_boxes, draw_comparison

NAMES = ("cat", "größer 犬", "cow")
THIN = BoxStyle(line_width=1, names=False)


def grey(height, width):
    return np.full((height, width, 3), 128, dtype=np.uint8)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def labels(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_a_frame_covers_the_outermost_pixels_inside_its_box():
    image = draw_boxes(grey(20, 30), boxes([3, 4, 13, 12]), labels(1), NAMES, style=THIN)
    expected = grey(20, 30)
    expected[4, 3:13] = expected[11, 3:13] = class_colour(1)
    expected[4:12, 3] = expected[4:12, 12] = class_colour(1)
    assert np.array_equal(image, expected)


def test_wide_lines_lie_inside_with_a_shade_on_both_sides():
    style = BoxStyle(line_width=3, names=False)
    image = draw_boxes(grey(60, 60), boxes([10, 10, 50, 50]), labels(2), NAMES, style=style)
    row = image[30]
    assert (row[10:13] == class_colour(2)).all()
    assert (row[47:50] == class_colour(2)).all()
    assert (row[[9, 13, 46, 50]] < 128).all()
    assert (row[[8, 14, 45, 51]] == 128).all()


def test_the_input_is_not_changed_and_need_not_be_writable():
    image = grey(50, 50)
    image.setflags(write=False)
    result = draw_boxes(image, boxes([5, 5, 40, 40]), labels(1), NAMES)
    assert (image == 128).all()
    assert result.flags.writeable
    assert not np.shares_memory(image, result)


def test_without_boxes_the_picture_stays_as_it_is():
    image = draw_boxes(grey(9, 9), boxes(), labels(), NAMES, scores=torch.zeros(0))
    assert np.array_equal(image, grey(9, 9))


def test_the_best_detection_lies_on_top():
    two = boxes([5, 5, 25, 25], [5, 5, 25, 25])
    options = {"style": THIN}
    high = draw_boxes(
        grey(30, 30), two, labels(1, 2), NAMES, scores=torch.tensor([0.9, 0.1]), **options
    )
    low = draw_boxes(
        grey(30, 30), two, labels(1, 2), NAMES, scores=torch.tensor([0.1, 0.9]), **options
    )
    assert tuple(high[5, 10]) == class_colour(1)
    assert tuple(low[5, 10]) == class_colour(2)


def test_names_bear_the_colour_of_their_class():
    plain = draw_boxes(grey(200, 200), boxes([50, 80, 150, 180]), labels(3), NAMES)
    assert (plain[70:78, 55:80] == class_colour(3)).all(axis=2).any()
    style = BoxStyle(colour=(1, 2, 3))
    own = draw_boxes(grey(200, 200), boxes([50, 80, 150, 180]), labels(3), NAMES, style=style)
    assert (own[70:78, 55:80] == (1, 2, 3)).all(axis=2).any()
    assert not (own == class_colour(3)).all(axis=2).any()


def test_dashes_leave_gaps_but_not_at_the_corners():
    style = BoxStyle(dashed=True, line_width=2, names=False)
    image = draw_boxes(grey(120, 120), boxes([10, 10, 110, 110]), labels(1), NAMES, style=style)
    line = (image[10, 10:110] == class_colour(1)).all(axis=1)
    assert line[:8].all()
    assert line[-8:].all()
    assert 0.4 < line.mean() < 0.65


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 400), dash=st.integers(1, 60))
def test_dashes_stay_on_their_side(length, dash):
    parts = _dashes((7, 3, 7 + length, 5), dash)
    assert (parts[0][0], parts[-1][2]) == (7, 7 + length)
    assert all(y1 == 3 and y2 == 5 for _, y1, _, y2 in parts)
    assert all(left[2] <= right[0] for left, right in pairwise(parts))
    assert len(parts) == 1 or all(x2 - x1 == dash for x1, _, x2, _ in parts)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (2000, 1500)])
@pytest.mark.parametrize(
    "box",
    [[0, 0, 1, 1], [-50, -50, 6000, 6000], [0, 0, 0, 0], [0.4, 0.6, 0.7, 0.9], [9000, 0, 9001, 1]],
)
def test_any_shape_of_picture_and_box(shape, box):
    image = draw_boxes(grey(*shape), boxes(box), labels(2), NAMES, scores=torch.tensor([0.5]))
    assert image.shape == (*shape, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_other_pictures_are_refused_by_shape_and_type(image):
    with pytest.raises(ValueError, match=rf"{image.dtype} \[{image.shape[0]}, 4"):
        draw_boxes(image, boxes(), labels(), NAMES)


def comparison(truth, found, size=(500, 500)):
    difficult = torch.zeros(len(truth[1]), dtype=torch.bool)
    scores = torch.full((len(found[1]),), 0.9)
    return draw_comparison(
        grey(*size), Target(*truth, difficult), Detections(found[0], scores, found[1]), NAMES
    )


WHITE = (255, 255, 255)


def test_truth_is_dashed_in_white_over_what_was_found():
    box = boxes([100, 100, 400, 400])
    image = comparison((box, labels(1)), (box, labels(1)))
    side = image[102:398, 100]
    assert (side == WHITE).all(axis=1).any()
    assert (side == class_colour(1)).all(axis=1).any()


def test_only_missed_truth_is_named():
    box, other = boxes([100, 100, 400, 400]), boxes([10, 300, 80, 400])
    chip = np.s_[80:98, 105:150]
    nothing = comparison((box, labels(1)), (boxes(), labels()))
    assert (nothing[chip] == WHITE).all(axis=2).mean() > 0.3
    wrong_class = comparison((box, labels(1)), (other, labels(1)))
    assert (wrong_class[chip] == WHITE).all(axis=2).mean() > 0.3
    found = comparison((box, labels(1)), (box, labels(1)))
    assert not (found[chip] == WHITE).all(axis=2).any()


def test_small_pictures_are_enlarged_by_a_whole_factor():
    nothing = (boxes(), labels())
    assert comparison(nothing, nothing, (100, 120)).shape == (400, 480, 3)
    assert comparison(nothing, nothing, (1, 1)).shape == (480, 480, 3)
    assert comparison(nothing, nothing, (500, 375)).shape == (500, 375, 3)
    assert comparison(nothing, nothing, (1, 5000)).shape == (1, 5000, 3)
    twice = comparison((boxes([50, 50, 150, 150]), labels(1)), nothing, (240, 200))
    assert twice.shape == (480, 400, 3)
    assert tuple(twice[100, 100]) == WHITE
    assert tuple(twice[299, 299]) == WHITE
