"""The R-FCN head: position-sensitive score maps, pooling, voting (paper, section 2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.models.initialization import Initializer, gaussian
from rfcn.ops.psroi_pool import PSRoIPool
from rfcn.structures import RoIOutputs


class RFCNHead(nn.Module):
    """k^2 (C+1) score maps and 4 k^2 S box maps; bin (i, j) of a RoI reads maps (i, j); bins vote.

    There is not one weight after the RoIs: all computation is shared by all of them.

    Args:
        in_channels: channels of conv5. classes: C, without background.
        k: side of the grid of bins. reduction: width of the 1x1 convolution before the maps.
        box_sets: S: 1 (the paper), 2 (background and foreground, the released code) or C+1.
        stride: picture pixels a cell of the features.
        hidden_init: how the 1x1 convolution before the maps starts.
    """

    inclusive_corners = True
    """Its RoI rows carry inclusive corners, as the released operator takes them."""

    def __init__(
        self,
        in_channels: int,
        *,
        classes: int,
        k: int = 7,
        reduction: int = 1024,
        box_sets: int = 2,
        stride: int = 16,
        hidden_init: Initializer = gaussian,
    ) -> None:
        super().__init__()
        self.k = k
        self.box_sets = box_sets
        self.reduce = nn.Conv2d(in_channels, reduction, 1)
        self.score_maps = nn.Conv2d(reduction, k * k * (classes + 1), 1)
        self.box_maps = nn.Conv2d(reduction, k * k * 4 * box_sets, 1)
        self.pool = PSRoIPool(k, 1 / stride)
        hidden_init(self.reduce)
        gaussian(self.score_maps)
        gaussian(self.box_maps)

    def forward(self, features: Tensor, rois: Tensor) -> RoIOutputs:
        """features: [N, Cf, H, W]; rois: [R, 5] -> raw scores [R, C+1] and offsets [R, S, 4]."""
        reduced = F.relu(self.reduce(features))
        logits = vote(self.pool(self.score_maps(reduced), rois))
        deltas = vote(self.pool(self.box_maps(reduced), rois))
        return RoIOutputs(logits, deltas.view(-1, self.box_sets, 4))

    def bins(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """What the vote is made of: the score maps [N, C+1, k, k, H, W] and what each bin of each
        RoI read from them [R, C+1, k, k]. Their mean over the bins is `class_logits`."""
        maps = self.score_maps(F.relu(self.reduce(features)))
        pooled = self.pool(maps, rois)
        return maps.unflatten(1, (-1, self.k, self.k)), pooled


def vote(pooled: Tensor) -> Tensor:
    """The bins vote by averaging (paper, equation 2): [R, C, k, k] -> [R, C]."""
    return pooled.mean(dim=(2, 3))
