"""Light-Head R-CNN (arXiv 1711.07264): thin score maps for no class in particular, then one layer.

R-FCN's maps grow with the classes (k^2 (C+1)); these do not (10 k^2). What they lack, a hidden
layer on every RoI makes up for.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.row_order import bins_of_rows
from rfcn.models.initialization import Initializer, gaussian
from rfcn.structures import RoIOutputs


class LargeSeparableConv(nn.Module):
    """A large square window at the cost of its sides: n x 1 then 1 x n, beside 1 x n then n x 1.

    Their sum, through a ReLU. No activation lies between the two of a pair.

    Args:
        size: n, odd. middle: channels between the two of a pair.
    """

    def __init__(
        self,
        in_channels: int,
        middle: int,
        out_channels: int,
        *,
        size: int = 15,
        hidden_init: Initializer = gaussian,
    ) -> None:
        super().__init__()
        half = size // 2
        self.down = nn.Conv2d(in_channels, middle, (size, 1), padding=(half, 0))
        self.down_across = nn.Conv2d(middle, out_channels, (1, size), padding=(0, half))
        self.across = nn.Conv2d(in_channels, middle, (1, size), padding=(0, half))
        self.across_down = nn.Conv2d(middle, out_channels, (size, 1), padding=(half, 0))
        for layer in (self.down, self.down_across, self.across, self.across_down):
            hidden_init(layer)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, C', H, W]."""
        return F.relu(self.down_across(self.down(x)) + self.across_down(self.across(x)))


class LightHead(nn.Module):
    """Thin maps, position-sensitive pooling, one hidden layer, scores and boxes.

    Args:
        in_channels: channels of conv5. classes: C, without background.
        pooler: its k is that of the maps, its `channels` * k^2 in number.
        channels: numbers a bin is described by (10). middle: width inside the large convolution.
        hidden: width of the layer on every RoI (2048).
        box_sets: S: 1, 2 or C+1. hidden_init: how the hidden layers start.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        classes: int,
        pooler: PositionSensitivePooler,
        channels: int = 10,
        middle: int = 256,
        hidden: int = 2048,
        box_sets: int = 1,
        hidden_init: Initializer = gaussian,
    ) -> None:
        super().__init__()
        bins = pooler.k**2
        self.inclusive_corners = pooler.inclusive_corners
        self.k = pooler.k
        self.thin_maps = LargeSeparableConv(
            in_channels, middle, channels * bins, hidden_init=hidden_init
        )
        layer = nn.Linear(channels * bins, hidden)
        hidden_init(layer)
        body = nn.Sequential(nn.Flatten(), layer, nn.ReLU(inplace=True))
        self.head = PooledHead(pooler, body, hidden, classes=classes, box_sets=box_sets)

    def forward(self, features: Tensor, rois: Tensor) -> RoIOutputs:
        """features: [N, Cf, H, W]; rois: [R, 5] -> raw scores [R, C+1] and offsets [R, S, 4]."""
        outputs: RoIOutputs = self.head(bins_of_rows(self.thin_maps(features), self.k), rois)
        return outputs
