"""What a classification network has left after its features: the part a head can run per RoI."""

from typing import NamedTuple

from torch import Tensor, nn


class Tail(NamedTuple):
    """The last stage of a backbone, taken off it."""

    body: nn.Module
    """Pooled features [R, C, p, p] -> [R, `channels`]."""
    channels: int


class GlobalAverage(nn.Module):
    """The mean over all cells: [R, C, h, w] -> [R, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [R, C, h, w] -> [R, C]."""
        return x.mean(dim=(2, 3))
