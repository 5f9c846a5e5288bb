"""What the operators are timed on: maps of a 600 x 1000 picture at stride 16, RoIs spread on it."""

import torch
from torch import Tensor

K, HEIGHT, WIDTH, SCALE = 7, 38, 63, 1 / 16
LOADS = [(21, 300), (21, 2000), (8, 300), (81, 300), (81, 2000)]
"""(classes with background, RoIs) of the position-sensitive operators."""


def random_rois(count: int) -> Tensor:
    """[count, 5] boxes of 20 to 400 pixels in picture 0, the same at every call."""
    g = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=g) * torch.tensor([1000.0, 600.0])
    sides = torch.exp(3 + 3 * torch.rand(count, 2, generator=g))
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    limit = torch.tensor([999.0, 599.0, 999.0, 599.0])
    return torch.cat([torch.zeros(count, 1), corners.clamp(min=0).minimum(limit)], dim=1)


def memory_orders(maps: Tensor, k: int = K) -> dict[str, Tensor]:
    """The same maps as planes, channels-last, and channels-last with the channels bin by bin."""
    by_bin = maps.unflatten(1, (-1, k, k)).permute(0, 4, 5, 2, 3, 1).contiguous()
    return {
        "planes": maps,
        "channels-last": maps.contiguous(memory_format=torch.channels_last),
        "by bin": by_bin.permute(0, 5, 3, 4, 1, 2),
    }
