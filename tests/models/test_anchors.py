import torch

from rfcn.models.anchors import AnchorGrid, base_anchors

PUBLISHED = [
    (-84, -40, 100, 56),
    (-176, -88, 192, 104),
    (-360, -184, 376, 200),
    (-56, -56, 72, 72),
    (-120, -120, 136, 136),
    (-248, -248, 264, 264),
    (-36, -80, 52, 96),
    (-80, -168, 96, 184),
    (-168, -344, 184, 360),
]


def test_the_nine_published_anchors():
    assert base_anchors(16, (8, 16, 32), (0.5, 1, 2)).tolist() == [list(one) for one in PUBLISHED]


def test_the_twelve_of_coco_follow_the_released_recipe(oracles):
    scales, ratios = (4, 8, 16, 32), (0.5, 1, 2)
    inclusive = oracles.inclusive_anchors(16, scales, ratios)
    half_open = [[x1, y1, x2 + 1, y2 + 1] for x1, y1, x2, y2 in inclusive]
    assert base_anchors(16, scales, ratios).tolist() == half_open


def test_every_anchor_is_centred_on_the_first_cell():
    anchors = base_anchors(10, (1, 2.5), (0.3, 1, 3))
    assert anchors.shape == (6, 4)
    assert ((anchors[:, :2] + anchors[:, 2:]) == 10).all()


def test_the_grid_repeats_them_row_by_row_at_the_stride():
    grid = AnchorGrid(base_size=16, scales=(8, 16, 32), ratios=(0.5, 1, 2), stride=16)
    anchors = grid(3, 5)
    expected = [
        [x1 + 16 * column, y1 + 16 * row, x2 + 16 * column, y2 + 16 * row]
        for row in range(3)
        for column in range(5)
        for x1, y1, x2, y2 in PUBLISHED
    ]
    assert len(grid) == 9
    assert anchors.dtype == torch.float32
    assert anchors.tolist() == expected


def test_a_map_of_no_cells_has_no_anchors():
    assert AnchorGrid()(0, 5).shape == (0, 4)


def test_anchors_are_no_weights_but_move_with_the_model():
    grid = AnchorGrid()
    assert grid.state_dict() == {}
    assert grid.to("meta")(2, 2).device.type == "meta"
