"""The picture of the score maps: where the yellow bins are, and which colours mean what."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rfcn.visualization.score_maps import (
    ScoreMapView,
    _largest,
    _square_around,
    draw_score_maps,
    film,
)


def view(k=3, height=96, width=128, value=1.0, roi=(32.0, 24.0, 80.0, 72.0)):
    return ScoreMapView(
        image=np.full((height, width, 3), 100, dtype=np.uint8),
        roi=torch.tensor(roi),
        class_name="größer $x_1$",
        maps=torch.full((k, k, height // 8, width // 8), value),
        stride=8,
        votes=torch.full((k, k), value),
        score=0.75,
    )


def reddish(image):
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    return (red > blue + 60) & (red > green + 60)


def bluish(image):
    red, _, blue = image.astype(int).transpose(2, 0, 1)
    return blue > red + 60


@pytest.mark.parametrize("k", [1, 3, 7])
def test_any_number_of_bins(k):
    one = draw_score_maps(view(k))
    assert one.dtype == np.uint8
    assert one.shape == (510, 1530, 3)


def test_a_row_for_each_view():
    assert draw_score_maps([view(1), view(1, value=-1.0)]).shape == (1020, 1530, 3)


def test_red_speaks_for_the_class_and_blue_against_it():
    good, bad = draw_score_maps(view(value=2.0)), draw_score_maps(view(value=-2.0))
    assert reddish(good).mean() > 0.1
    assert not bluish(good).any()
    assert bluish(bad).mean() > 0.1
    assert not reddish(bad).any()


def test_one_scale_for_all_views():
    strong, weak = view(value=10.0), view(value=0.5)
    alone, beside = draw_score_maps(weak), draw_score_maps([strong, weak])[510:]
    assert reddish(alone).mean() > 0.1
    assert reddish(beside).mean() < 0.01


def test_each_map_shows_its_own_bin():
    """The bin of the map in row i, column j is framed thickly, and nothing but it."""
    image = draw_score_maps(view(k=3, value=0.0)).astype(int)
    yellow = (image[..., 0] > 240) & (image[..., 1] > 200) & (image[..., 2] < 60)
    columns = yellow[40:, 660:1120]
    height, width = columns.shape[0] // 3, columns.shape[1] // 3
    for row in range(3):
        for column in range(3):
            panel = columns[
                row * height : (row + 1) * height, column * width : (column + 1) * width
            ]
            rows, places = np.nonzero(panel)
            # The RoI fills the middle two thirds; most yellow lies in the bin's third of it.
            assert int((np.median(rows) / height - 1 / 6) * 4.5) == row
            assert int((np.median(places) / width - 1 / 6) * 4.5) == column


def test_the_views_are_not_changed():
    one = view()
    kept = (one.image.copy(), one.maps.clone(), one.votes.clone())
    draw_score_maps(one)
    assert np.array_equal(one.image, kept[0])
    assert torch.equal(one.maps, kept[1])
    assert torch.equal(one.votes, kept[2])


@pytest.mark.parametrize(
    ("roi", "square"),
    [
        ((32.0, 24.0, 80.0, 72.0), (20, 12, 92, 84)),
        ((0.0, 0.0, 48.0, 48.0), (0, 0, 72, 72)),
        ((80.0, 48.0, 128.0, 96.0), (56, 24, 128, 96)),
        ((0.0, 0.0, 128.0, 96.0), (-6.4, -22.4, 134.4, 118.4)),
    ],
    ids=["middle", "corner", "other corner", "everything"],
)
def test_the_surroundings_of_the_roi_are_a_square_in_the_picture(roi, square):
    assert _square_around(view(roi=roi)) == pytest.approx(square, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "roi"),
    [
        ((8, 8), (0.0, 0.0, 1.0, 1.0)),
        ((8, 800), (0.0, 0.0, 800.0, 8.0)),
        ((96, 128), (40.0, 40.0, 40.0, 40.0)),
        ((96, 128), (-60.0, -60.0, -10.0, -10.0)),
    ],
    ids=["tiny", "flat", "no area", "outside"],
)
def test_any_picture_and_roi(size, roi):
    assert draw_score_maps(view(3, *size, roi=roi)).shape == (510, 1530, 3)


def test_the_scale_looks_at_what_is_in_sight():
    one = view()
    maps = one.maps.clone()
    maps[:, :, -1, -1] = 1000
    changed = replace(one, maps=maps)
    assert _largest(changed, _square_around(changed)) == 1
    assert _largest(replace(one, maps=one.maps * 0, votes=one.votes * 0), _square_around(one)) > 0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"not \[3, 3, 12, 16\] and \[2, 2\]"):
        draw_score_maps(replace(view(), votes=torch.zeros(2, 2)))
    with pytest.raises(ValueError, match="uint8"):
        draw_score_maps(replace(view(), image=np.zeros((4, 4, 3))))


def test_scores_without_a_bin_are_a_column_more():
    """Red where the score falls without the bin, blue where it rises."""
    without = torch.tensor([[0.25, 0.75, 0.75], [0.75, 1.0, 0.75], [0.75, 0.75, 0.75]])
    plain, more = view(value=0.0), replace(view(value=0.0), scores_without=without)
    drawn = draw_score_maps([more, plain], heading="words")
    assert drawn.shape == (1020 + 75, 1910, 3)
    column = drawn[:600, 1530:]
    assert reddish(column).any()
    assert bluish(column).any()
    assert (drawn[700:, 1560:] == 255).all(), "the plain view has none"
    with pytest.raises(ValueError, match=r"scores_without must be \[k, k\], not \[2, 2\]"):
        draw_score_maps(replace(view(), scores_without=torch.zeros(2, 2)))


def test_a_film_is_clear_at_zero_and_full_at_the_largest():
    colours = film(np.array([[0.0, 4.0, -4.0, 9.0]]), 4.0)
    assert colours[0, :, 3].tolist() == pytest.approx([0, 0.85, 0.85, 0.85])
    assert colours[0, 1, 0] > colours[0, 1, 2]
    assert colours[0, 2, 0] < colours[0, 2, 2]
