"""What the two forms cost, and which is taken."""

import pytest

from rfcn.models.heads.forms import Load, choose_forms, cost_of_features, cost_of_maps

VOC = Load(cells=38 * 63, rois=300, depth=1024, k=7)
"""A picture of 600 x 1000 pixels at stride 16."""
BOTH, NEITHER = ("features", "features"), ("maps", "maps")


def test_costs_by_hand():
    # 2 cells, 3 RoIs, depth 5, k = 2, 7 numbers a RoI: 28 maps; bins read (8 + 2)**2 cells.
    load = Load(cells=2, rois=3, depth=5, k=2)
    assert cost_of_maps(load, 7, training=False) == 2 * (5 * 28 + 40 * (5 + 28))
    assert cost_of_features(load, [7], training=False) == 3 * 5 * (28 + 40 * 4 + 8 * 100)
    assert cost_of_maps(load, 7, training=True) == 3 * 2 * (5 * 28 + 40 * (5 + 28))
    assert cost_of_features(load, [7], training=True) == 3 * 5 * (3 * 28 + 4 * (160 + 800))


def test_layers_pool_once():
    alone = cost_of_features(VOC, [21], training=False) + cost_of_features(VOC, [8], training=False)
    together = cost_of_features(VOC, [21, 8], training=False)
    assert alone - together == 300 * 1024 * (40 * 49 + 8 * 15**2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("load", "channels", "expected"),
    [
        (VOC, (21, 8), BOTH),  # an eighth of the multiply-adds
        (VOC._replace(rois=30), (21, 8), BOTH),
        (VOC._replace(rois=100_000), (21, 8), NEITHER),
        (VOC._replace(cells=2 * 2394, rois=600), (21, 8), BOTH),  # so for any batch
        (VOC._replace(rois=2000), (21, 8), NEITHER),
        (VOC._replace(rois=400, cells=300), (1204, 8), NEITHER),  # fewer cells than RoIs
    ],
)
def test_what_is_taken(load, channels, expected, training):
    assert choose_forms(load, channels, training=training) == expected


def test_few_channels_do_not_pay_for_the_pooling_alone():
    """Boxes keep their maps alone; beside classes that pool anyway, they use what is pooled."""
    assert choose_forms(VOC, [1], training=True) == ("maps",)
    assert choose_forms(VOC, [81, 1], training=True) == BOTH


def test_one_bin_is_not_worth_pooling():
    """k = 1: RoIs overlap, so their cells are read more often than there are cells."""
    load = VOC._replace(k=1, rois=400)
    assert choose_forms(load, (21, 8), training=False) == NEITHER
    assert choose_forms(load._replace(k=3), (21, 8), training=False) == BOTH


def test_training_weighs_the_pooling_heavier():
    load = VOC._replace(rois=600)
    assert choose_forms(load, (21, 8), training=False) == BOTH
    assert choose_forms(load, (21, 8), training=True) == NEITHER


def test_no_rois_and_no_cells():
    assert choose_forms(VOC._replace(rois=0), (21, 8), training=False) == BOTH
    assert choose_forms(VOC._replace(cells=0, rois=0), (21, 8), training=True) == NEITHER
