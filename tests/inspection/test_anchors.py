"""Coverage in closed form against the grid itself, and suggestions for known shapes."""

import numpy as np
import pytest
import torch

from rfcn.boxes import iou
from rfcn.datasets.survey_objects import Objects
from rfcn.inspection.anchors import (
    Anchors,
    Resized,
    best_overlaps,
    better_anchors,
    resized,
    share,
)
from rfcn.models.anchors import AnchorGrid


@pytest.mark.parametrize(
    ("base_size", "scales", "stride"),
    [(16, (1, 2, 4, 8), 16), (8, (0.5, 3, 5), 8), (16, (2.5, 30), 32)],
)
def test_overlaps_are_those_of_the_whole_grid(
    base_size: float, scales: tuple[float, ...], stride: int
) -> None:
    chance = np.random.default_rng(0)
    height, width = 150, 210
    corners = chance.uniform(0, 1, (40, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    these = Resized(boxes, np.tile([height, width], (40, 1)))
    grid = AnchorGrid(base_size=base_size, scales=scales, ratios=(0.5, 1, 2), stride=stride)
    anchors = grid(-(-height // stride), -(-width // stride))
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    by_hand = (iou(torch.from_numpy(boxes), anchors) * inside).reshape(40, -1, len(grid))
    found = best_overlaps(these, grid.base.numpy(), stride)
    np.testing.assert_allclose(found, by_hand.max(dim=1).values, atol=1e-5)
    assert found.max() > 0.3


def test_boxes_are_resized_as_in_training() -> None:
    objects = Objects(
        np.array([0, 1]),
        np.array([[0, 0, 10, 20], [0, 0, 100, 10]], dtype=np.float32),
        np.array([1, 1]),
        np.array([False, False]),
        np.array([[100, 200], [100, 1000]]),
    )
    these = resized(objects, short_side=600, max_long_side=1200)
    assert these.sizes.tolist() == [[600, 1200], [120, 1200]]
    assert these.boxes.tolist() == [[0, 0, 60, 120], [0, 0, 120, 12]]
    np.testing.assert_allclose(these.sides, [np.sqrt(60 * 120), np.sqrt(120 * 12)])


def squares(side: float, *, ratio: float = 1, count: int = 200) -> Resized:
    """Boxes of one shape all over pictures of 600 x 1000."""
    width, height = side / ratio**0.5, side * ratio**0.5
    sides = np.array([width, height])
    corner = np.random.default_rng(0).uniform(0, 1, (count, 2)) * ([1000, 600] - sides)
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    return Resized(boxes, np.tile([600, 1000], (count, 1)))


def test_suggested_anchors_have_the_shapes_of_the_boxes() -> None:
    two = [squares(64), squares(320)]
    these = Resized(*(np.concatenate([getattr(a, f) for a in two]) for f in ("boxes", "sizes")))
    now = Anchors(16, (32, 64), (1,), 16)
    better = better_anchors(these, now, scales=2, enough=0.7)
    assert better.scales == (4, 20)
    assert better.ratios == (1,)
    assert share(now.overlaps(these), 0.5) < 0.2  # type: ignore[operator]
    assert share(better.overlaps(these), 0.7) > 0.9  # type: ignore[operator]
    tall = better_anchors(squares(128, ratio=3), now, scales=1, enough=0.7)
    assert (tall.scales, tall.ratios) == ((8,), (3,))


def test_no_boxes_have_no_share() -> None:
    assert share(np.zeros(0), 0.5) is None
    assert share(np.array([0.5, 0.4]), 0.5) == 0.5
