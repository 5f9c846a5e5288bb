"""Objects in flat arrays: counts by hand, and boxes that come twice."""

import numpy as np
import torch

from rfcn.datasets.survey_objects import (
    ClassCount,
    Objects,
    boxes_a_picture,
    class_counts,
    gather,
    repeated_boxes,
)
from rfcn.structures import Target


class Listed:
    """A data set of three pictures: two boxes, none, three boxes."""

    class_names = ("cat", "dog", "eel")
    sizes = ((30, 40), (10, 10), (50, 60))
    rows = (
        ([[0, 0, 4, 4], [1, 1, 9, 9]], [1, 2], [False, True]),
        ([], [], []),
        ([[0, 0, 4, 4], [5, 5, 9, 9], [0, 0, 4, 4]], [1, 1, 1], [False, False, False]),
    )

    def __len__(self) -> int:
        return 3

    def target(self, index: int) -> Target:
        boxes, labels, difficult = self.rows[index]
        return Target(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(difficult, dtype=torch.bool),
        )


def test_gather_and_count() -> None:
    objects = gather(Listed())  # type: ignore[arg-type]
    assert objects.picture.tolist() == [0, 0, 2, 2, 2]
    assert objects.boxes.shape == (5, 4)
    assert objects.sizes.tolist() == [[30, 40], [10, 10], [50, 60]]
    assert class_counts(objects, 3) == [
        ClassCount(boxes=4, difficult=0, pictures=2),
        ClassCount(boxes=0, difficult=1, pictures=1),
        ClassCount(boxes=0, difficult=0, pictures=0),
    ]
    assert boxes_a_picture(objects).tolist() == [2, 0, 3]
    assert boxes_a_picture(objects, difficult=False).tolist() == [1, 0, 3]


def of(pictures: list[int], boxes: list[list[float]], difficult: list[bool] | None = None):
    count = len(boxes)
    return Objects(
        np.array(pictures, dtype=np.int64),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.ones(count, dtype=np.int64),
        np.array(difficult or [False] * count, dtype=bool),
        np.full((max(pictures, default=0) + 1, 2), 100),
    )


def test_k18_the_same_box_twice_in_one_picture() -> None:
    assert repeated_boxes(gather(Listed())) == [(2, 4)]  # type: ignore[arg-type]


def test_the_same_box_is_the_same_to_half_a_pixel() -> None:
    boxes = [[10, 10, 20, 20], [10, 10.5, 20, 20], [10, 10, 20, 20.6]]
    assert repeated_boxes(of([0, 0, 0], boxes)) == [(0, 1)]


def test_of_three_equal_boxes_two_are_named() -> None:
    assert repeated_boxes(of([0] * 3, [[1, 2, 3, 4]] * 3)) == [(0, 1), (0, 2)]


def test_other_pictures_and_crowds_are_no_repetition() -> None:
    assert repeated_boxes(of([0, 1], [[1, 2, 3, 4]] * 2)) == []
    assert repeated_boxes(of([0, 0], [[1, 2, 3, 4]] * 2, [False, True])) == []
    assert repeated_boxes(of([], [])) == []


def test_repetitions_are_those_of_every_pair_compared() -> None:
    chance = np.random.default_rng(0)
    boxes = chance.integers(0, 4, (300, 4)).astype(np.float32)
    pictures = np.sort(chance.integers(0, 5, 300))
    slow = {
        j
        for i in range(300)
        for j in range(i + 1, 300)
        if pictures[i] == pictures[j] and (boxes[i] == boxes[j]).all()
    }
    found = repeated_boxes(of(pictures.tolist(), boxes.tolist()))
    assert {j for _, j in found} == slow
    assert all((boxes[i] == boxes[j]).all() for i, j in found)
