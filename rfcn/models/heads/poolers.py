"""What can stand before a head: each RoI operator with the corners it takes."""

from torch import Tensor, nn

from rfcn.ops.roi_align import RoIAlign
from rfcn.ops.roi_pool import RoIPool


class Pooler(nn.Module):
    """An operator that reads features at RoIs.

    Args:
        operator: (features [N, D, H, W], rois [R, 5]) -> [R, D', p, p].
        inclusive_corners: which RoI rows it takes (see `rfcn.boxes.to_rois`).
    """

    def __init__(self, operator: nn.Module, *, inclusive_corners: bool) -> None:
        super().__init__()
        self.operator = operator
        self.inclusive_corners = inclusive_corners

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """features: [N, D, H, W], rois: [R, 5] -> [R, D', p, p]."""
        pooled: Tensor = self.operator(features, rois)
        return pooled


def max_pooler(size: int, stride: int) -> Pooler:
    """RoI pooling: the largest value of a bin (Fast R-CNN). stride: picture pixels a cell."""
    return Pooler(RoIPool(size, 1 / stride), inclusive_corners=True)


def align_pooler(size: int, stride: int) -> Pooler:
    """RoI Align: the mean of 2 x 2 bilinear samples a bin (Mask R-CNN). stride: pixels a cell."""
    return Pooler(RoIAlign(size, 1 / stride), inclusive_corners=False)
