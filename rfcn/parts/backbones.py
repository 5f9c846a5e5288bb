"""From a backbone's section of the config to the backbone."""

import logging
from collections.abc import Sequence

from rfcn.config import schema
from rfcn.config.parts import Features
from rfcn.errors import ConfigError
from rfcn.models.resnet import Conv5, ResNet
from rfcn.models.tail import Tail
from rfcn.models.tiny import TinyBackbone
from rfcn.models.vgg import VGG16
from rfcn.models.weights import load_backbone

logger = logging.getLogger("rfcn")

Config = schema.ResNetBackbone | schema.VGG16Backbone | schema.TinyBackbone
Backbone = ResNet | VGG16 | TinyBackbone

CONV5: dict[Features, Conv5] = {
    "conv5": "a_trous",
    "conv5_stride_32": "stride_32",
    "conv5_deformable": "deformable",
    "conv4": "stride_32",  # split off; a head that runs it on every RoI does so as published
    "conv3": "stride_32",  # dropped, as for conv2
    "conv2": "stride_32",
}
"""What conv5 is, by the maps that heads read."""


def build_backbone(
    config: Config, features: Features = "conv5", *, pretrained: bool
) -> tuple[Backbone, Tail | None]:
    """The backbone of a config, whose heads read `features`, and what was split off for that.

    With `pretrained=False` no weights are looked for.
    """
    backbone = _with_weights(config, features) if pretrained else _bare(config, features)
    if features == "conv4" or isinstance(backbone, VGG16):
        return backbone, backbone.split_off_tail()
    if features in ("conv2", "conv3"):
        assert isinstance(backbone, TinyBackbone), "the schema gives these to no other backbone"
        backbone.let_heads_read(features)
    return backbone, None


def _bare(config: Config, features: Features) -> Backbone:
    if isinstance(config, schema.TinyBackbone):
        return TinyBackbone(
            config.width, stride=config.stride, conv5=CONV5[features], norm=config.norm
        )
    if isinstance(config, schema.VGG16Backbone):
        return VGG16(frozen_stages=config.frozen_stages)
    return ResNet(
        config.depth,
        conv5=CONV5[features],
        frozen_stages=config.frozen_stages,
        conv5_norm=config.conv5_norm,
        style=config.style,
    )


def _with_weights(config: Config, features: Features) -> Backbone:
    backbone = _bare(config, features)
    if isinstance(config, schema.TinyBackbone) or isinstance(backbone, TinyBackbone):
        return backbone
    untrained = list(backbone.stages)
    if config.weights != "none":
        untrained = load_backbone(backbone, config.weights)
    _check_frozen(config, untrained)
    if isinstance(config, schema.ResNetBackbone):
        _check_conv5(config, untrained)
    return backbone


def _check_frozen(
    config: schema.ResNetBackbone | schema.VGG16Backbone, untrained: Sequence[str]
) -> None:
    """Say which stages start from random weights, where that is not plainly what was asked for."""
    frozen = [f"conv{number}" for number in range(1, config.frozen_stages + 1)]
    stuck = [stage for stage in untrained if stage in frozen]
    if stuck and config.weights != "none":
        raise ConfigError(
            f"model.backbone: {config.weights} holds no weights for {', '.join(stuck)}, and "
            f"frozen_stages: {config.frozen_stages} would never train them. Lower frozen_stages."
        )
    if stuck:
        logger.warning(
            "model.backbone.weights is none: %s start from random weights and stay frozen "
            "(frozen_stages: %d)",
            ", ".join(stuck),
            config.frozen_stages,
        )


def _check_conv5(config: schema.ResNetBackbone, untrained: Sequence[str]) -> None:
    """Say where the norm of conv5 does not suit the weights it starts from."""
    if "conv5" not in untrained and config.conv5_norm != "frozen":
        logger.warning(
            "%s holds a conv5 that was trained behind batch norm, and model.backbone.conv5_norm is "
            "%s: it starts from those weights but must learn anew; set it to frozen",
            config.weights,
            config.conv5_norm,
        )
    if untrained == ["conv5"] and config.conv5_norm == "frozen":
        logger.warning(
            "%s holds no conv5: it starts from random weights behind frozen batch norm, which "
            "trains badly; set model.backbone.conv5_norm to group",
            config.weights,
        )
