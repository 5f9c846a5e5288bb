import itertools

import cv2
import numpy as np
import pytest

from rfcn.datasets.shapes_drawing import (
    CLASSES,
    LIGHTS,
    Patch,
    draw_background,
    draw_distractor,
    draw_object,
    lay,
    placed,
)


def _chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("long_side", [30, 100])
def test_objects_have_the_size_asked_for(name: str, long_side: int) -> None:
    """A turn by up to 14 degrees lengthens or shortens the long side of a form by some."""
    for seed in range(5):
        patch = draw_object(name, long_side, _chance(seed))
        assert 0.85 * long_side <= max(patch.cover.shape) <= 1.3 * long_side + 2
        assert patch.colours.shape == (*patch.cover.shape, 3)
        assert patch.cover.min() >= 0
        assert patch.cover.max() == 1
        assert 0 <= patch.colours.min() <= patch.colours.max() <= 255


@pytest.mark.parametrize("name", CLASSES)
def test_patches_are_cut_to_what_is_covered(name: str) -> None:
    cover = draw_object(name, 60, _chance()).cover
    for edge in (cover[0], cover[-1], cover[:, 0], cover[:, -1]):
        assert edge.any()


def test_edges_are_smooth() -> None:
    cover = draw_object("ring", 60, _chance()).cover
    assert len(np.unique(cover)) > 8


def test_a_ring_has_a_hole() -> None:
    cover = draw_object("ring", 60, _chance()).cover
    assert cover[cover.shape[0] // 2, cover.shape[1] // 2] == 0


def _bright_row(name: str, seed: int) -> float:
    """Where the brightest pixels lie, as a share of the height."""
    patch = draw_object(name, 90, _chance(seed))
    light = (patch.colours.max(axis=2) * patch.cover) > 200
    return float(np.nonzero(light)[0].mean() / patch.cover.shape[0])


@pytest.mark.parametrize("seed", range(5))
def test_only_the_height_of_the_light_tells_lamps_apart(seed: int) -> None:
    top, middle, bottom = (
        _bright_row(f"lamp_{where}", seed) for where in ("top", "middle", "bottom")
    )
    assert top < 0.33 < 0.42 < middle < 0.58 < 0.67 < bottom
    covers = [draw_object(f"lamp_{w}", 90, _chance(seed)).cover for w in ("top", "bottom")]
    np.testing.assert_array_equal(*covers)


@pytest.mark.parametrize("seed", range(5))
def test_cards_hold_the_same_parts_in_another_order(seed: int) -> None:
    high, low = (draw_object(f"card_{where}", 90, _chance(seed)) for where in ("high", "low"))
    np.testing.assert_array_equal(high.cover, low.cover)
    assert np.abs(high.colours - low.colours).max() > 50
    assert abs(high.colours.mean() - low.colours.mean()) < 4


def test_colours_do_not_tell_the_class() -> None:
    """Over many draws the light of a lamp is as bright at its top as at its bottom."""
    means = [
        np.mean(
            [draw_object(name, 30, _chance(seed)).colours.max((0, 1)) for seed in range(100)], 0
        )
        for name in ("lamp_top", "lamp_bottom")
    ]
    np.testing.assert_allclose(*means, atol=6)


def test_laying_changes_what_is_covered_and_nothing_far_away() -> None:
    picture = np.full((80, 80, 3), 100, np.float32)
    patch = Patch(np.full((10, 20, 3), 250, np.float32), np.ones((10, 20), np.float32))
    laid = lay(picture, patch, 30, 40)
    assert (laid[30:40, 40:60] == 250).all()
    assert (laid[:20, :30] == 100).all()
    assert laid[41, 55, 0] < 95  # the shadow


def test_placed() -> None:
    whole = placed(np.ones((2, 3), np.float32), (6, 7), 1, 4)
    assert whole.sum() == 6
    assert whole[1:3, 4:7].all()


def test_everything_follows_the_generator() -> None:
    for draw in (
        lambda c: draw_background(40, 50, c),
        lambda c: draw_distractor(20, c).colours,
        lambda c: draw_object("star", 40, c).colours,
    ):
        np.testing.assert_array_equal(draw(_chance(3)), draw(_chance(3)))
        assert not np.array_equal(draw(_chance(3)), draw(_chance(4)))


def test_background_is_a_picture() -> None:
    background = draw_background(40, 50, _chance())
    assert background.shape == (40, 50, 3)
    assert background.dtype == np.float32
    assert background.std() > 5


# --------------------------------------------------------------------- lights: position and no more


@pytest.mark.parametrize("seed", range(8))
def test_no_window_of_15_pixels_holds_two_lights(seed: int) -> None:
    """So what reads such windows one at a time cannot know which light shines."""
    cover = draw_object(LIGHTS[0], 48, _chance(seed)).cover
    count, _, boxes, _ = cv2.connectedComponentsWithStats((cover > 0).astype(np.uint8))
    assert count == 1 + 4
    corners = np.concatenate([boxes[1:, :2], boxes[1:, :2] + boxes[1:, 2:4]], axis=1)
    for one, other in itertools.combinations(corners, 2):
        gaps = np.maximum(one[:2], other[:2]) - np.minimum(one[2:], other[2:])
        assert max(gaps) >= 15


@pytest.mark.parametrize("seed", range(4))
def test_lights_differ_in_place_alone(seed: int) -> None:
    """With the same chances all four have one outline, and each shines in one corner, in one
    colour."""
    patches = [draw_object(name, 60, _chance(seed)) for name in LIGHTS]
    height, width = patches[0].cover.shape
    colours = []
    for name, patch in zip(LIGHTS, patches, strict=True):
        np.testing.assert_array_equal(patch.cover, patches[0].cover)
        brightest = patch.colours.max(axis=2) * (patch.cover == 1)
        y, x = np.unravel_index(brightest.argmax(), brightest.shape)
        assert (
            name
            == f"lights_{('top', 'bottom')[2 * y // height]}_{('left', 'right')[2 * x // width]}"
        )
        colours.append(patch.colours[y, x].tolist())
    assert colours == [colours[0]] * 4
