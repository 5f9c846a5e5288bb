"""Heads that pool features and then compute for every RoI anew: Fast and Faster R-CNN's.

One class for all of them: what pools, and what runs on what was pooled, are arguments.

    naive Faster R-CNN      conv5, pooled to 7 x 7 or 1 x 1      nothing but the two layers
    Faster R-CNN, ResNet    conv4, pooled to 14 x 14             conv5, mean over its cells
    Faster R-CNN, VGG-16    conv5_3, pooled to 7 x 7             fc6, fc7
"""

import torch
from torch import Tensor, nn

from rfcn.models.heads.poolers import Pooler, PositionSensitivePooler
from rfcn.models.initialization import gaussian
from rfcn.structures import RoIOutputs


class PooledHead(nn.Module):
    """RoIs pooled, a body run on each, then one layer of scores and one of boxes.

    Args:
        pooler: (features, rois [R, 5]) -> [R, Cf, p, p].
        body: [R, Cf, p, p] -> [R, D]. channels: D.
        classes: C, without background. box_sets: S: 1, 2 or C+1.
    """

    def __init__(
        self,
        pooler: Pooler | PositionSensitivePooler,
        body: nn.Module,
        channels: int,
        *,
        classes: int,
        box_sets: int,
    ) -> None:
        super().__init__()
        self.pooler = pooler
        self.inclusive_corners = pooler.inclusive_corners
        self.body = body
        self.box_sets = box_sets
        self.scores = nn.Linear(channels, classes + 1)
        self.deltas = nn.Linear(channels, 4 * box_sets)
        gaussian(self.scores)
        gaussian(self.deltas, std=0.001)  # both as in Fast R-CNN, section 2.3

    def forward(self, features: Tensor, rois: Tensor) -> RoIOutputs:
        """features: [N, Cf, H, W], or the maps that the pooler takes; rois: [R, 5] -> raw scores
        [R, C+1] and offsets [R, S, 4]."""
        return self.judge(self.describe(features, rois))

    def describe(self, features: Tensor, rois: Tensor) -> Tensor:
        """What the two layers read of each RoI: [R, D]."""
        described: Tensor = self.body(self.pooler(features, rois))
        return described

    def judge(self, described: Tensor) -> RoIOutputs:
        """What the two layers say: [R, D] -> raw scores [R, C+1] and offsets [R, S, 4]."""
        deltas = self.deltas(described).view(-1, self.box_sets, 4)
        return RoIOutputs(self.scores(described), deltas)

    def class_rows(self) -> dict[str, Tensor]:
        """The rows of each layer that belong to one class: layer -> [C+1, rows a class] int64."""
        classes = self.scores.out_features
        rows = {"scores": torch.arange(classes, device="cpu")[:, None]}
        if self.box_sets == classes:
            rows["deltas"] = torch.arange(4 * classes, device="cpu").view(-1, 4)
        return rows
