"""From a head's section of the config to the head.

`HEADS` is the one table from sections to functions; a test holds it against the schema's union.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from rfcn.config import parts
from rfcn.models.heads.context import ContextHead
from rfcn.models.heads.deformable_rfcn import DeformableRFCNHead
from rfcn.models.heads.light import LightHead
from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import (
    Pooler,
    PositionSensitiveAlign,
    PositionSensitivePooler,
    align_pooler,
    average_pooler,
    max_pooler,
)
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.initialization import Initializer, gaussian
from rfcn.models.tail import Tail
from rfcn.models.vgg import POOLED
from rfcn.parts.backbones import Backbone

POOLERS: dict[parts.Pooler, Callable[[int, int], Pooler]] = {
    "max": max_pooler,
    "average": average_pooler,
    "align": align_pooler,
}
PS_POOLERS: dict[parts.PSPooler, Callable[[int, int], PositionSensitivePooler]] = {
    "psroi_pool": PositionSensitivePooler,
    "psroi_pool_paper": partial(PositionSensitivePooler, semantics="paper"),
    "psroi_pool_torchvision": partial(PositionSensitivePooler, semantics="torchvision"),
    "psroi_align": PositionSensitiveAlign,
}


@dataclass(frozen=True)
class Surroundings:
    """What a head is built for."""

    channels: int
    """Of the features it reads."""
    stride: int
    """Picture pixels a cell of them."""
    classes: int
    """C, without background."""
    tail: Tail | None
    """What the backbone has left, for the head to run on every RoI."""
    hidden_init: Initializer = gaussian

    def box_sets(self, kind: parts.BoxSets) -> int:
        """S, of a name."""
        counts = {"agnostic": 1, "background_foreground": 2, "class_aware": self.classes + 1}
        return counts[kind]


def build_head(
    config: parts.AnyRoIHead,
    backbone: Backbone,
    tail: Tail | None = None,
    hidden_init: Initializer = gaussian,
    *,
    classes: int,
) -> nn.Module:
    """The RoI head of a config. tail: see `build_backbone`. classes: C, without background."""
    around = Surroundings(
        channels=backbone.roi_channels,
        stride=backbone.roi_stride,
        classes=classes,
        tail=tail,
        hidden_init=hidden_init,
    )
    return HEADS[type(config)](config, around)


def _rfcn(config: parts.RFCN, around: Surroundings) -> RFCNHead:
    return RFCNHead(
        around.channels,
        classes=around.classes,
        pooler=PS_POOLERS[config.pooler](config.k, around.stride),
        reduction=config.reduction,
        box_sets=around.box_sets(config.box_sets),
        hidden_init=around.hidden_init,
        form=config.form,
    )


def _naive_frcnn(config: parts.NaiveFRCNN, around: Surroundings) -> PooledHead:
    body = Tail(nn.Flatten(), around.channels * config.pool**2)
    return _pooled(config, config.pool, body, around)


def _c4_frcnn(config: parts.C4FRCNN, around: Surroundings) -> PooledHead:
    return _pooled(config, config.pool, around.tail, around)


def _fc_frcnn(config: parts.FCFRCNN, around: Surroundings) -> PooledHead:
    return _pooled(config, POOLED, around.tail, around)


def _pooled(
    config: parts.NaiveFRCNN | parts.C4FRCNN | parts.FCFRCNN,
    size: int,
    body: Tail | None,
    around: Surroundings,
) -> PooledHead:
    assert body is not None, "the schema pairs such a head with a backbone that has a tail"
    head = ContextHead if config.global_context else PooledHead
    return head(
        POOLERS[config.pooler](size, around.stride),
        body.body,
        body.channels,
        classes=around.classes,
        box_sets=around.box_sets(config.box_sets),
    )


def _light_head(config: parts.LightHead, around: Surroundings) -> LightHead:
    return LightHead(
        around.channels,
        classes=around.classes,
        pooler=PS_POOLERS[config.pooler](config.k, around.stride),
        channels=config.channels,
        middle=config.middle,
        hidden=config.hidden,
        box_sets=around.box_sets(config.box_sets),
        hidden_init=around.hidden_init,
    )


def _deformable_rfcn(config: parts.DeformableRFCN, around: Surroundings) -> DeformableRFCNHead:
    return DeformableRFCNHead(
        around.channels,
        classes=around.classes,
        k=config.k,
        stride=around.stride,
        reduction=config.reduction,
        box_sets=around.box_sets(config.box_sets),
        hidden_init=around.hidden_init,
    )


HEADS: dict[type, Callable[[Any, Surroundings], nn.Module]] = {
    parts.RFCN: _rfcn,
    parts.NaiveFRCNN: _naive_frcnn,
    parts.C4FRCNN: _c4_frcnn,
    parts.FCFRCNN: _fc_frcnn,
    parts.LightHead: _light_head,
    parts.DeformableRFCN: _deformable_rfcn,
}
