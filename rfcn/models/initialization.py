"""How layers start that no pretrained weights are for."""

from torch import nn


def small_gaussian(*layers: nn.Conv2d) -> None:
    """Weights from a gaussian of deviation 0.01, biases zero (py-R-FCN: every new layer)."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
