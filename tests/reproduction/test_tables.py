"""The recipes as data: every row leads to a config, at every scale."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rfcn.datasets.shapes import POSITION
from rfcn.parts.backbones import build_backbone
from rfcn.reproduction.run import row_config
from rfcn.reproduction.tables import TABLES

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROWS = [
    pytest.param(table, row, scale, id=f"{name}-{row.name}-{scale}")
    for name, table in TABLES.items()
    for scale in table.scales
    for row in table.rows_at(scale)
]


@pytest.mark.parametrize(("table", "row", "scale"), ROWS)
def test_every_row_is_a_config_at_every_scale(table, row, scale):
    config = row_config(row, table, scale, seed=3)
    assert config.runtime.seed == 3


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_rows_of_a_table_share_data_and_schedule_at_a_scale(table):
    for scale in table.scales:
        first, *others = (row_config(row, table, scale, seed=0) for row in table.rows_at(scale))
        for other in others:
            assert other.data.root == first.data.root
            assert other.train.iterations == first.train.iterations


def test_the_rows_of_position_differ_in_the_head_alone():
    """And their data are those that the generator promises to be told apart by position alone."""
    table = TABLES["position"]
    configs = {row.name: row_config(row, table, "toy", seed=0) for row in table.rows}
    assert table.scales["toy"].generated == "position"
    for config in configs.values():
        assert not config.data.flip
        assert config.model.proposer == configs["k1"].model.proposer
        assert config.model.roi_loss == configs["k1"].model.roi_loss
    read = {name: config.model.roi_head.features for name, config in configs.items()}
    assert {name for name, features in read.items() if features != "conv2"} == {"k1_deep"}
    scene_sizes = {side for size in POSITION.sizes for side in size}
    assert {configs["k1"].data.test_short_side, configs["k1"].data.max_long_side} == scene_sizes


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_have_names_of_their_own_and_margins_name_rows(table):
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert {name for margin in table.margins for name in margin[:2]} <= set(names)
    assert all(row.paper is not None or row.remark for row in table.rows)


def test_every_config_of_a_table_is_a_row():
    """Multi-scale rows of the study of depth aside: table 4 has the one that the paper confirms."""
    used = {row.config for table in TABLES.values() for row in table.rows}
    shipped = {
        file.relative_to(CONFIGS).as_posix()
        for file in (CONFIGS / "paper").rglob("*.yaml")
        if not file.stem.endswith(("50_ms", "101_ms", "152_ms"))
    }
    assert shipped == used


def test_conv5_on_a_roi_is_light_at_the_toy_scale():
    """So that Faster R-CNN, which runs it on each, trains in minutes."""
    table = TABLES["table3"]
    config = row_config(table.rows[0], table, "toy", seed=0)
    assert config.model.roi_head.type == "c4_frcnn"
    backbone, tail = build_backbone(config.model.backbone, "conv4", pretrained=False)
    with FlopCounterMode(display=False) as counter:
        tail.body(torch.zeros(1, backbone.roi_channels, *[config.model.roi_head.pool] * 2))
    assert 0 < counter.get_total_flops() <= 0.05e9
    counts = [row_config(row, table, "toy", seed=0).model.proposer for row in table.rows]
    assert [one.train_proposals for one in counts] == [30, 30, 30, 30, 200, 200]
    assert {one.test_proposals for one in counts} == {30}
