"""The head of Deformable R-FCN (arXiv 1703.06211, section 3): bins that move to where they look.

Beside the score maps lie offset maps. They are pooled first, without offsets, and say how far each
bin of a RoI is shifted when the scores are pooled: for each class on its own, and once for boxes.
"""

import torch
from torch import Tensor, nn

from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.initialization import Initializer, gaussian
from rfcn.ops.deform_psroi_pool import DeformPSRoIPool
from rfcn.structures import RoIOutputs


class DeformableRFCNHead(RFCNHead):
    """R-FCN's maps, 2 k^2 (C+1) offset maps for scores and 2 k^2 for boxes, pooled where they say.

    The offset maps start at zero, and with them every offset.

    Args:
        in_channels: channels of conv5. classes: C, without background.
        k: side of the grid of bins. stride: picture pixels a cell of the features.
        reduction, box_sets, hidden_init: as for `RFCNHead`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        classes: int,
        k: int = 7,
        stride: int = 16,
        reduction: int = 1024,
        box_sets: int = 2,
        hidden_init: Initializer = gaussian,
    ) -> None:
        super().__init__(
            in_channels,
            classes=classes,
            pooler=PositionSensitivePooler(k, stride),
            reduction=reduction,
            box_sets=box_sets,
            hidden_init=hidden_init,
            form="maps",  # a bin that moves is no product of pooled features
        )
        self.score_offsets = nn.Conv2d(reduction, 2 * k * k * (classes + 1), 1)
        self.box_offsets = nn.Conv2d(reduction, 2 * k * k, 1)
        self.deform_pool = DeformPSRoIPool(k, 1 / stride)
        for layer in (self.score_offsets, self.box_offsets):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def votes(self, reduced: Tensor, rois: Tensor) -> RoIOutputs:
        """Raw scores [R, C+1] and offsets of boxes [R, S, 4] from what `reduced` gives."""
        logits = self._moved(self.score_maps, self.score_offsets, reduced, rois)[1]
        deltas = self._moved(self.box_maps, self.box_offsets, reduced, rois)[1]
        voted = deltas.mean(dim=(2, 3)).view(-1, self.box_sets, 4)
        return RoIOutputs(logits.mean(dim=(2, 3)), voted)

    def bins(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """The score maps [N, C+1, k, k, H, W] and what each moved bin of each RoI read from them
        [R, C+1, k, k]. Their mean over the bins is `class_logits`."""
        return self._moved(self.score_maps, self.score_offsets, self.reduced(features), rois)

    def _moved(
        self, layer: nn.Conv2d, offset_layer: nn.Conv2d, reduced: Tensor, rois: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The maps of a layer, and what its bins read from them, each shifted by its offset."""
        shifts = self.deform_pool(self.maps(offset_layer, reduced), rois)  # [R, 2G, k, k]
        maps = self.maps(layer, reduced)
        return maps, self.deform_pool(maps, rois, shifts.float().unflatten(1, (-1, 2)))

    def class_rows(self) -> dict[str, Tensor]:
        """The rows of each layer that belong to one class: layer -> [C+1, rows a class] int64."""
        bins = self.k * self.k
        offsets = torch.arange(self.score_offsets.out_channels, device="cpu").view(bins, -1, 2)
        return {**super().class_rows(), "score_offsets": offsets.transpose(0, 1).flatten(1)}
