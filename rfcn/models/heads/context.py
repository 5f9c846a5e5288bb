"""Global context (He et al., 2016, appendix B): what the whole picture looks like, for every RoI.

The picture is one more RoI: it is pooled and runs through the body like all others. What comes out
is put beside what came out for each RoI, and the two layers read both.
"""

import torch
from torch import Tensor, nn

from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import Pooler, PositionSensitivePooler
from rfcn.models.initialization import gaussian
from rfcn.structures import RoIOutputs


class ContextHead(PooledHead):
    """A pooled head whose layers read a RoI and its whole picture side by side.

    A layer on two vectors side by side is the sum of one layer on each; so they are kept, for then
    the half on the picture is computed once a picture, and weights of a head without context fit
    the other half (`train.start_from`).

    Args:
        pooler, body, channels, classes, box_sets: as for `PooledHead`.
    """

    reads_pictures = True

    def __init__(
        self,
        pooler: Pooler | PositionSensitivePooler,
        body: nn.Module,
        channels: int,
        *,
        classes: int,
        box_sets: int,
    ) -> None:
        super().__init__(pooler, body, channels, classes=classes, box_sets=box_sets)
        self.context_scores = nn.Linear(channels, classes + 1, bias=False)
        self.context_deltas = nn.Linear(channels, 4 * box_sets, bias=False)
        gaussian(self.context_scores)
        gaussian(self.context_deltas, std=0.001)  # as the layers they are the other half of

    def forward(self, features: Tensor, rois: Tensor, pictures: Tensor | None = None) -> RoIOutputs:
        """features: [N, Cf, H, W]; rois: [R, 5]; pictures: [N, 5], each picture as a RoI of its
        own, without padding -> raw scores [R, C+1] and offsets [R, S, 4]."""
        each, whole = self._bodies(features, rois, pictures)
        owner = rois[:, 0].long()
        logits = self.scores(each) + self.context_scores(whole)[owner]
        deltas = self.deltas(each) + self.context_deltas(whole)[owner]
        return RoIOutputs(logits, deltas.view(-1, self.box_sets, 4))

    def describe(self, features: Tensor, rois: Tensor, pictures: Tensor | None = None) -> Tensor:
        """What the layers read of each RoI, its own and its picture's side by side: [R, 2D]."""
        each, whole = self._bodies(features, rois, pictures)
        return torch.cat([each, whole[rois[:, 0].long()]], dim=1)

    def judge(self, described: Tensor) -> RoIOutputs:
        """What the layers say: [R, 2D] -> raw scores [R, C+1] and offsets [R, S, 4]."""
        each, whole = described.chunk(2, dim=1)
        deltas = self.deltas(each) + self.context_deltas(whole)
        logits = self.scores(each) + self.context_scores(whole)
        return RoIOutputs(logits, deltas.view(-1, self.box_sets, 4))

    def _bodies(
        self, features: Tensor, rois: Tensor, pictures: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the body makes of the RoIs [R, D] and of the pictures [N, D]."""
        if pictures is None:
            raise ValueError("pictures: this head reads whole pictures, see TwoStageDetector.look")
        both = super().describe(features, torch.cat([rois, pictures.to(rois)]))
        return both[: len(rois)], both[len(rois) :]

    def class_rows(self) -> dict[str, Tensor]:
        """The rows of each layer that belong to one class: layer -> [C+1, rows a class] int64."""
        rows = super().class_rows()
        return {**rows, **{f"context_{layer}": one for layer, one in rows.items()}}
