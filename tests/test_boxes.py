import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rfcn.boxes import LOG_MAX_GROWTH, area, clip, decode, encode, iou, rescale, to_rois

STD = (0.1, 0.1, 0.2, 0.2)


def tensor(*boxes):
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4)


# ---------------------------------------------------------------------------------- area and IoU


def test_area_counts_pixels_of_half_open_boxes():
    # one pixel, a 4 x 3 box, an empty one, one reversed in x, one reversed in both
    boxes = tensor((0, 0, 1, 1), (2, 1, 6, 4), (5, 5, 5, 9), (4, 0, 2, 9), (9, 9, 1, 1))
    assert area(boxes).tolist() == [1, 12, 0, 0, 0]


def test_iou_by_hand():
    a = tensor((0, 0, 4, 4))
    b = tensor(
        (0, 0, 4, 4),  # itself
        (2, 0, 6, 4),  # 8 of 24
        (4, 0, 8, 4),  # shares an edge only: no pixel
        (1, 1, 3, 3),  # inside: 4 of 16
        (9, 9, 10, 10),  # apart
        (2, 2, 2, 4),  # empty, inside
        (3, 3, 1, 1),  # reversed, inside
    )
    assert_close(iou(a, b), torch.tensor([[1, 1 / 3, 0, 0.25, 0, 0, 0]]))


def test_iou_equals_the_slow_version_on_1000_random_pairs(oracles):
    rng = np.random.default_rng(0)
    for whole in (False, True):
        a = oracles.random_boxes(rng, 20, 60, whole=whole)
        b = oracles.random_boxes(rng, 25, 60, whole=whole)
        expected = [[oracles.iou(one, other) for other in b.tolist()] for one in a.tolist()]
        assert_close(
            iou(torch.from_numpy(a), torch.from_numpy(b)),
            torch.tensor(expected, dtype=torch.float32),
            rtol=0,
            atol=1e-5,
        )


def test_iou_of_nothing_has_a_shape():
    assert iou(tensor(), tensor((0, 0, 1, 1))).shape == (0, 1)
    assert iou(tensor((0, 0, 1, 1)), tensor()).shape == (1, 0)


def test_two_empty_boxes_do_not_overlap():
    empty = tensor((3, 3, 3, 3), (0, 0, 0, 5))
    assert iou(empty, empty).tolist() == [[0, 0], [0, 0]]


any_number = st.floats(width=32, allow_nan=True, allow_infinity=True)
any_box = st.tuples(any_number, any_number, any_number, any_number)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@given(a=any_box, b=any_box)
def test_iou_is_a_fraction_for_any_numbers(dtype, a, b):
    """O22: empty, reversed, huge, infinite and NaN boxes, also where areas overflow."""
    overlap = iou(tensor(a).to(dtype), tensor(b).to(dtype))
    assert overlap.dtype == dtype
    assert 0 <= overlap.item() <= 1


# ------------------------------------------------------------------------------- encode, decode


def test_encode_by_hand():
    # anchor 10 x 20 centred on (5, 10); box 20 x 10 centred on (10, 15)
    offsets = encode(tensor((0, 10, 20, 20)), tensor((0, 0, 10, 20)))
    assert_close(offsets, tensor((0.5, 0.25, math.log(2), -math.log(2))))


def test_std_divides_the_offsets():
    boxes, anchors = tensor((0, 10, 20, 20)), tensor((0, 0, 10, 20))
    assert_close(encode(boxes, anchors, STD), encode(boxes, anchors) / torch.tensor(STD))


def test_encode_and_decode_equal_the_slow_versions_on_1000_random_cases(oracles):
    rng = np.random.default_rng(1)
    anchors = oracles.random_boxes(rng, 1000, 600)
    boxes = oracles.random_boxes(rng, 1000, 600)
    offsets = rng.normal(0, (3, 3, 8, 8), (1000, 4)).astype(np.float32)

    expected = [
        oracles.encode(*pair, STD) for pair in zip(boxes.tolist(), anchors.tolist(), strict=True)
    ]
    encoded = encode(torch.from_numpy(boxes), torch.from_numpy(anchors), STD)
    assert_close(encoded, torch.tensor(expected), rtol=1e-4, atol=1e-3)

    expected = [
        oracles.decode(*pair, STD) for pair in zip(offsets.tolist(), anchors.tolist(), strict=True)
    ]
    decoded = decode(torch.from_numpy(offsets), torch.from_numpy(anchors), STD)
    assert_close(decoded, torch.tensor(expected), rtol=1e-4, atol=1e-2)


coordinate = st.floats(-2000, 2000, width=32)
side = st.floats(0.5, 2000, width=32)
solid_box = st.tuples(coordinate, coordinate, side, side).map(
    lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3])
)


@given(box=solid_box, anchor=solid_box)
def test_decode_inverts_encode(box, anchor):
    """O23: to 1e-4 of the anchor's side, whatever the ratio, up to the clamp of the growth."""
    boxes, anchors = tensor(box).double(), tensor(anchor).double()
    offsets = encode(boxes, anchors)
    back = decode(offsets, anchors)
    grown = (offsets[:, 2:] > LOG_MAX_GROWTH).any().item()
    if grown:
        sides = (back[:, 2:] - back[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
        assert (sides <= 1000 / 16 * (1 + 1e-9)).all()
    else:
        assert_close(back, boxes, rtol=0, atol=1e-4)


@pytest.mark.parametrize("growth", [1e4, 1e30, math.inf])
def test_wild_growth_is_clamped_and_finite(growth):
    """T8."""
    anchors = tensor((0, 0, 16, 32))
    boxes = decode(tensor((0, 0, growth, growth)), anchors)
    assert_close(boxes, tensor((8 - 500, 16 - 1000, 8 + 500, 16 + 1000)), rtol=1e-5, atol=0)
    vanished = decode(tensor((0, 0, -growth, -growth)), anchors)
    assert vanished.tolist() == [[8, 16, 8, 16]]


def test_wild_shift_is_finite():
    """T8: dx = dy = 1e4."""
    assert decode(tensor((1e4, -1e4, 0, 0)), tensor((0, 0, 512, 512))).isfinite().all()


def test_an_anchor_without_area_decodes_to_itself():
    """O23: a point times any growth is that point."""
    point = tensor((7, 9, 7, 9))
    assert decode(tensor((1e4, -3, 2, 1e4)), point).tolist() == point.tolist()


def test_decode_broadcasts_anchors_over_box_sets():
    anchors = tensor((0, 0, 10, 10), (5, 5, 25, 15))
    deltas = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    sets = decode(deltas, anchors[:, None])
    assert sets.shape == (2, 3, 4)
    for number in range(3):
        assert_close(sets[:, number], decode(deltas[:, number], anchors))


# ------------------------------------------------------------------------ clip, rescale, to_rois


def test_clip_cuts_to_the_half_open_picture():
    boxes = tensor((-5, -5, 50, 50), (10, 10, 12, 12), (70, -9, 90, -1))
    clipped = clip(boxes, (30, 40))
    assert clipped.tolist() == [[0, 0, 40, 30], [10, 10, 12, 12], [40, 0, 40, 0]]


def test_rescale_treats_the_axes_apart():
    half_open_picture = tensor((0, 0, 500, 375))
    resized = rescale(half_open_picture, (375, 500), (600, 800))
    assert resized.tolist() == [[0, 0, 800, 600]]
    odd = rescale(tensor((10, 10, 20, 20)), (100, 100), (200, 50))
    assert odd.tolist() == [[5, 20, 10, 40]]


def test_rescale_there_and_back():
    boxes = tensor((1.5, 2.5, 30.25, 40), (0, 0, 1, 1))
    back = rescale(rescale(boxes, (375, 500), (600, 801)), (600, 801), (375, 500))
    assert_close(back, boxes)


def test_to_rois_numbers_the_pictures():
    rois = to_rois([tensor((1, 2, 3, 4)), tensor(), tensor((5, 6, 7, 8), (0, 0, 9, 9))])
    assert rois.tolist() == [[0, 1, 2, 3, 4], [2, 5, 6, 7, 8], [2, 0, 0, 9, 9]]


def test_to_rois_gives_inclusive_corners_where_asked():
    boxes = tensor((0, 0, 16, 32))
    assert to_rois([boxes], inclusive=True).tolist() == [[0, 0, 0, 15, 31]]
    assert boxes.tolist() == [[0, 0, 16, 32]]  # untouched


def test_to_rois_of_no_boxes():
    rois = to_rois([tensor(), tensor()], inclusive=True)
    assert rois.shape == (0, 5)
    assert rois.dtype == torch.float32


def test_to_rois_are_float32_whatever_comes_in():
    assert to_rois([tensor((0, 0, 1, 1)).double()]).dtype == torch.float32
