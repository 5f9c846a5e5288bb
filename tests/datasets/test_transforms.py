from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfcn.datasets.sample import Sample
from rfcn.datasets.transforms import (
    TrainTransform,
    fitted_size,
    flip,
    resize,
    resize_image,
    without_difficult,
)
from rfcn.structures import Target


def _sample(height: int = 30, width: int = 40, boxes: list[list[float]] | None = None) -> Sample:
    rows = boxes or []
    target = Target(
        boxes=torch.tensor(rows).reshape(-1, 4).float(),
        labels=torch.arange(1, len(rows) + 1),
        difficult=torch.tensor([number % 2 == 1 for number in range(len(rows))], dtype=torch.bool),
    )
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Sample(image, target, "a", Path("a.jpg"))


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((375, 500), (600, 800)),
        ((500, 375), (800, 600)),
        ((281, 500), (562, 1000)),  # the long side limits
        ((600, 1000), (600, 1000)),
        ((333, 500), (600, 901)),  # 900.9
        ((1, 5000), (1, 1000)),
        ((5000, 1), (1000, 1)),
        ((1, 1), (600, 600)),
    ],
)
def test_fitted_size(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(size, short_side=600, max_long_side=1000) == fitted


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    short_side=st.integers(1, 900),
    extra=st.integers(0, 900),
)
def test_fitted_size_keeps_its_limits(height: int, width: int, short_side: int, extra: int) -> None:
    limit = short_side + extra
    fitted = fitted_size((height, width), short_side=short_side, max_long_side=limit)
    assert 1 <= min(fitted) <= short_side
    assert max(fitted) <= limit
    assert min(fitted) == short_side or max(fitted) == limit


def test_resize_moves_boxes_by_the_rounded_sides() -> None:
    """333 x 500 becomes 600 x 901: y grows by 600/333, x by 901/500, a little more."""
    sample = _sample(333, 500, [[0, 0, 500, 333], [100, 50, 200, 150]])
    moved = resize(sample, short_side=600, max_long_side=1000)
    assert moved.size == (600, 901)
    assert moved.original_size == (333, 500)
    x, y = 901 / 500, 600 / 333
    expected = [[0, 0, 901, 600], [100 * x, 50 * y, 200 * x, 150 * y]]
    torch.testing.assert_close(moved.target.boxes, torch.tensor(expected))
    assert moved.target.labels is sample.target.labels


def test_resize_twice_remembers_the_first_size() -> None:
    twice = resize(
        resize(_sample(), short_side=60, max_long_side=99), short_side=20, max_long_side=99
    )
    assert twice.original_size == (30, 40)


@pytest.mark.parametrize("short_side", [12, 45, 90])
def test_pixels_and_boxes_move_alike(short_side: int) -> None:
    """A white box on black still fills its box after resizing."""
    sample = _sample(60, 90, [[30, 20, 60, 50]])
    sample.image[:] = 0
    sample.image[20:50, 30:60] = 255
    moved = resize(sample, short_side=short_side, max_long_side=300)
    rows, columns = np.nonzero(moved.image[:, :, 0] > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found, moved.target.boxes[0], atol=0.51)


def test_enlarging_is_bilinear_with_half_pixel_centres() -> None:
    image = np.repeat(np.array([[[0], [100]]], dtype=np.uint8), 3, axis=2)
    wide = resize_image(image, (1, 4))[0, :, 0]
    assert wide.tolist() == [0, 25, 75, 100]


def test_strong_shrinking_averages() -> None:
    """Stripes one pixel wide become grey; bilinear sampling would keep some white or black."""
    image = np.zeros((80, 80, 3), np.uint8)
    image[:, ::2] = 255
    shrunk = resize_image(image, (10, 10))
    assert np.abs(shrunk.astype(int) - 128).max() <= 1


def test_same_size_is_the_same_picture() -> None:
    image = _sample().image
    assert resize_image(image, (30, 40)) is image


def test_flip_mirrors_pixels_and_boxes() -> None:
    sample = _sample(3, 10, [[0, 0, 4, 3], [2.5, 1, 3, 2]])
    mirrored = flip(sample)
    assert mirrored.target.boxes.tolist() == [[6, 0, 10, 3], [7, 1, 7.5, 2]]
    for x in range(10):
        np.testing.assert_array_equal(mirrored.image[:, x], sample.image[:, 9 - x])


def test_flip_twice_is_the_original() -> None:
    sample = _sample(boxes=[[1, 2, 30, 20]])
    again = flip(flip(sample))
    np.testing.assert_array_equal(again.image, sample.image)
    assert again.target.boxes.tolist() == sample.target.boxes.tolist()


def test_pictures_without_objects_pass_through_everything() -> None:
    moved = flip(resize(_sample(), short_side=60, max_long_side=99))
    assert moved.target.boxes.shape == (0, 4)


def test_inputs_are_left_alone() -> None:
    sample = _sample(boxes=[[1, 2, 30, 20]])
    image, boxes = sample.image.copy(), sample.target.boxes.clone()
    flip(resize(sample, short_side=60, max_long_side=99))
    np.testing.assert_array_equal(sample.image, image)
    assert torch.equal(sample.target.boxes, boxes)


# V22
def test_v22_without_difficult_keeps_the_others_aligned() -> None:
    target = without_difficult(_sample(boxes=[[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]]).target)
    assert target.boxes.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert target.labels.tolist() == [1, 3]
    assert target.difficult.tolist() == [False, False]


def _transform(seed: int = 0, flip: bool = True, use_difficult: bool = False) -> TrainTransform:
    return TrainTransform(max_long_side=99, flip=flip, use_difficult=use_difficult, seed=seed)


def _mirrored(transform: TrainTransform, epoch: int, index: int) -> bool:
    sample = _sample(boxes=[[0, 0, 10, 10]])
    moved = transform(sample, short_side=30, epoch=epoch, index=index)
    return moved.target.boxes[0, 0].item() == 30


def test_training_choices_depend_on_seed_epoch_and_index_alone() -> None:
    def choices(seed: int) -> list[tuple[bool, int]]:
        made = []
        for epoch in range(4):
            for index in range(25):
                moved = _transform(seed)(
                    _sample(boxes=[[0, 0, 10, 10]]), short_side=30, epoch=epoch, index=index
                )
                made.append((moved.target.boxes[0, 0].item() == 30, moved.target.seed))
        return made

    first = choices(0)
    assert first == choices(0)
    assert first != choices(1)
    assert len({seed for _, seed in first}) == 100
    assert 30 <= sum(mirrored for mirrored, _ in first) <= 70
    # Neither epoch nor index alone decides.
    assert len({mirrored for mirrored, _ in first[:25]}) == 2
    assert len({mirrored for mirrored, _ in first[3::25]} | {_mirrored(_transform(), 9, 3)}) == 2


def test_mirroring_can_be_switched_off() -> None:
    transform = _transform(flip=False)
    assert not any(_mirrored(transform, 0, index) for index in range(20))


# V22
def test_v22_all_difficult_trains_as_empty_unless_asked_for() -> None:
    sample = _sample(boxes=[[0, 0, 10, 10]])
    sample = replace(sample, target=replace(sample.target, difficult=torch.tensor([True])))
    for use, count in ((False, 0), (True, 1)):
        moved = _transform(use_difficult=use)(sample, short_side=30, epoch=0, index=0)
        assert moved.target.boxes.shape == (count, 4)
