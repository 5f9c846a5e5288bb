"""What can stand before a head: each RoI operator with the corners it takes."""

import torch
from torch import Tensor, nn

from rfcn.ops.psroi_align import PSRoIAlign
from rfcn.ops.psroi_pool import PSRoIPool
from rfcn.ops.psroi_vote import PSRoIVote
from rfcn.ops.roi_align import RoIAlign
from rfcn.ops.roi_average_pool import RoIAveragePool
from rfcn.ops.roi_pool import RoIPool

# ------------------------------------------------------------------- every map read in every bin


class Pooler(nn.Module):
    """An operator that reads all features in every bin of a RoI.

    Args:
        operator: (features [N, D, H, W], rois [R, 5]) -> [R, D, p, p].
        inclusive_corners: which RoI rows it takes (see `rfcn.boxes.to_rois`).
    """

    def __init__(self, operator: nn.Module, *, inclusive_corners: bool) -> None:
        super().__init__()
        self.operator = operator
        self.inclusive_corners = inclusive_corners

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, D, H, W], rois: [R, 5] -> [R, D, p, p]."""
        pooled: Tensor = self.operator(features, rois)
        return pooled


def max_pooler(size: int, stride: int) -> Pooler:
    """RoI pooling: the largest value of a bin (Fast R-CNN). stride: picture pixels a cell."""
    return Pooler(RoIPool(size, 1 / stride), inclusive_corners=True)


def average_pooler(size: int, stride: int) -> Pooler:
    """The mean of a bin, whose cells are those of R-FCN's pooling. stride: pixels a cell."""
    return Pooler(RoIAveragePool(size, 1 / stride), inclusive_corners=True)


def align_pooler(size: int, stride: int) -> Pooler:
    """RoI Align: the mean of 2 x 2 bilinear samples a bin (Mask R-CNN). stride: pixels a cell."""
    return Pooler(RoIAlign(size, 1 / stride), inclusive_corners=False)


# ------------------------------------------------------------------ every bin read from its map


class PositionSensitivePooler(nn.Module):
    """Bin (i, j) of a RoI is the mean of map (i, j) over its cells (paper, equation 1).

    Args:
        k: bins a side. stride: picture pixels a cell of the maps.
        semantics: whose corners and rounding: `msra`, `paper` or `torchvision`
            (see `rfcn.ops.psroi_pool`).
    """

    average: RoIAveragePool | None
    """Reads every map in every bin, of the same cells: [N, D, H, W] -> [R, D, k, k]; None where
    there is no such operator."""

    def __init__(self, k: int = 7, stride: int = 16, semantics: str = "msra") -> None:
        super().__init__()
        self.k = k
        self.stride = stride
        self.inclusive_corners = semantics != "torchvision"
        self.pool: nn.Module = PSRoIPool(k, 1 / stride, semantics)
        self.average = RoIAveragePool(k, 1 / stride, semantics)
        self._vote = PSRoIVote(k, 1 / stride, semantics)

    def forward(self, maps: Tensor, rois: Tensor) -> Tensor:
        """maps: [N, C*k*k, H, W] or a view [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k]."""
        pooled: Tensor = self.pool(maps, rois)
        return pooled

    def vote(self, maps: Tensor, rois: Tensor) -> Tensor:
        """The mean over the bins (paper, equation 2): maps, rois -> [R, C]."""
        voted: Tensor = self._vote(maps, rois)
        return voted


class PositionSensitiveAlign(PositionSensitivePooler):
    """The same bins from bilinear samples, nothing rounded: RoI Align for score maps."""

    def __init__(self, k: int = 7, stride: int = 16) -> None:
        super().__init__(k, stride)
        self.inclusive_corners = False
        self.pool = PSRoIAlign(k, 1 / stride)
        self.average = None

    def vote(self, maps: Tensor, rois: Tensor) -> Tensor:
        """The mean over the bins (paper, equation 2): maps, rois -> [R, C]."""
        return torch.mean(self.pool(maps, rois), dim=(2, 3))
