"""How layers start that no pretrained weights are for."""

from collections.abc import Callable

from torch import nn

Layer = nn.Conv2d | nn.Linear
Initializer = Callable[[Layer], None]


def gaussian(layer: Layer, std: float = 0.01) -> None:
    """Weights from a gaussian of deviation 0.01, biases zero (py-R-FCN: every new layer)."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def kaiming(layer: Layer) -> None:
    """Weights that keep the size of gradients through a ReLU (He et al., 2015), biases zero."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
