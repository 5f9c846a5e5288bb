"""From config to head: every member of the union, its features, pooler and box sets."""

from typing import get_args

import pytest
import torch
from torch import nn

from rfcn.config import parts, schema
from rfcn.config.parts import AnyRoIHead
from rfcn.models.heads.context import ContextHead
from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import PositionSensitiveAlign
from rfcn.models.tiny import TinyBackbone
from rfcn.ops.roi_align import RoIAlign
from rfcn.ops.roi_average_pool import RoIAveragePool
from rfcn.ops.roi_pool import RoIPool
from rfcn.parts.backbones import build_backbone
from rfcn.parts.heads import HEADS, POOLERS, PS_POOLERS, build_head

TINY = schema.TinyBackbone(type="tiny", width=8)
VGG = schema.VGG16Backbone(type="vgg16")
BOX_SETS = {"agnostic": 1, "background_foreground": 2, "class_aware": 21}


def on_meta(config, backbone=TINY):
    """A head without memory, with its backbone."""
    features = getattr(config, "features", "conv4")
    with torch.device("meta"):
        built, tail = build_backbone(backbone, features, pretrained=False)
        return built, build_head(config, built, tail, classes=20)


def test_every_head_of_the_schema_can_be_built_and_no_other():
    assert set(HEADS) == set(get_args(AnyRoIHead))
    assert set(POOLERS) == set(get_args(parts.Pooler))
    assert set(PS_POOLERS) == set(get_args(parts.PSPooler))


@pytest.mark.parametrize("kind", BOX_SETS)
@pytest.mark.parametrize("k", [1, 3, 7])
def test_rfcn(kind, k):
    with torch.device("meta"):
        head = build_head(schema.RFCN(k=k, box_sets=kind), TinyBackbone(8), classes=20)
    assert head.box_maps.out_channels == 4 * k * k * BOX_SETS[kind]
    assert head.score_maps.out_channels == 21 * k * k


@pytest.mark.parametrize("features", get_args(parts.Features))
def test_a_head_has_the_stride_of_its_features(features):
    backbone, head = on_meta(schema.RFCN(features=features))
    assert head.pooler.stride == backbone.roi_stride
    _, head = on_meta(schema.NaiveFRCNN(type="naive_frcnn", features=features))
    assert head.pooler.operator.spatial_scale == 1 / backbone.roi_stride


@pytest.mark.parametrize(
    ("pooler", "operator"), [("max", RoIPool), ("average", RoIAveragePool), ("align", RoIAlign)]
)
@pytest.mark.parametrize("kind", BOX_SETS)
@pytest.mark.parametrize(
    ("section", "backbone", "size", "channels"),
    [
        (parts.NaiveFRCNN(type="naive_frcnn"), TINY, 7, 32 * 49),
        (parts.NaiveFRCNN(type="naive_frcnn", pool=1), TINY, 1, 32),
        (parts.C4FRCNN(type="c4_frcnn"), TINY, 14, 32),
        (parts.FCFRCNN(type="fc_frcnn"), VGG, 7, 4096),
    ],
    ids=["naive 7x7", "naive 1x1", "c4", "fc"],
)
def test_every_head_that_pools(section, backbone, size, channels, kind, pooler, operator):
    config = section.model_copy(update={"pooler": pooler, "box_sets": kind})
    _, head = on_meta(config, backbone)
    assert isinstance(head, PooledHead)
    assert isinstance(head.pooler.operator, operator)
    assert getattr(head.pooler.operator, "k" if pooler == "average" else "output_size") == size
    assert head.inclusive_corners == (pooler != "align")
    assert head.scores.in_features == head.deltas.in_features == channels
    assert (head.scores.out_features, head.deltas.out_features) == (21, 4 * BOX_SETS[kind])


@pytest.mark.parametrize(
    ("section", "backbone"),
    [
        (parts.NaiveFRCNN(type="naive_frcnn"), TINY),
        (parts.C4FRCNN(type="c4_frcnn"), TINY),
        (parts.FCFRCNN(type="fc_frcnn"), VGG),
    ],
    ids=["naive", "c4", "fc"],
)
@pytest.mark.parametrize("context", [True, False])
def test_global_context_of_every_head_that_pools(section, backbone, context):
    _, head = on_meta(section.model_copy(update={"global_context": context}), backbone)
    assert isinstance(head, ContextHead) == context
    assert isinstance(head, PooledHead)


def test_what_runs_on_every_roi():
    _, naive = on_meta(schema.NaiveFRCNN(type="naive_frcnn"))
    assert isinstance(naive.body, nn.Flatten)
    _, c4 = on_meta(schema.C4FRCNN(type="c4_frcnn"))
    assert sum(one.numel() for one in c4.body.parameters()) > 0
    _, fc = on_meta(schema.FCFRCNN(type="fc_frcnn"), VGG)
    assert fc.body.fc6.in_features == 512 * 49


@pytest.mark.parametrize(
    ("pooler", "semantics"),
    [
        ("psroi_pool", "msra"),
        ("psroi_pool_paper", "paper"),
        ("psroi_pool_torchvision", "torchvision"),
        ("psroi_align", None),
    ],
)
@pytest.mark.parametrize("section", [schema.RFCN(), schema.LightHead(type="light_head")])
def test_every_head_of_position_sensitive_maps(section, pooler, semantics):
    _, head = on_meta(section.model_copy(update={"pooler": pooler, "k": 5}))
    built = head.pooler if isinstance(section, schema.RFCN) else head.head.pooler
    assert isinstance(built, PositionSensitiveAlign) == (semantics is None)
    assert getattr(built.pool, "semantics", None) == semantics
    assert built.k == built.pool.k == head.k == 5


def test_the_numbers_of_the_light_head_arrive():
    config = schema.LightHead(
        type="light_head", k=3, channels=4, middle=5, hidden=6, box_sets="class_aware"
    )
    _, head = on_meta(config)
    assert head.thin_maps.down.out_channels == 5
    assert head.thin_maps.down_across.out_channels == 36
    assert (head.head.scores.in_features, head.head.box_sets) == (6, 21)
