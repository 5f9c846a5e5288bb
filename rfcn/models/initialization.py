"""How layers start that no pretrained weights are for."""

from collections.abc import Callable

from torch import nn

Initializer = Callable[[nn.Conv2d], None]


def gaussian(layer: nn.Conv2d) -> None:
    """Weights from a gaussian of deviation 0.01, biases zero (py-R-FCN: every new layer)."""
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def kaiming(layer: nn.Conv2d) -> None:
    """Weights that keep the size of gradients through a ReLU (He et al., 2015), biases zero."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
