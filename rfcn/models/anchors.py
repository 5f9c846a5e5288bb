"""The reference boxes of the RPN (Faster R-CNN, section 3.1.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def base_anchors(base_size: float, scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """The anchors of the cell at the origin: [ratios x scales, 4] half-open, ratio-major.

    As in the released code: a ratio turns the base square into a box of about its area with whole
    sides, scales then multiply the sides, and every box is centred on the base square (0, 0,
    base_size, base_size). For 16, (8, 16, 32), (0.5, 1, 2) these are the nine published anchors.
    """
    centre = base_size / 2
    boxes = []
    for ratio in ratios:
        width = round((base_size**2 / ratio) ** 0.5)
        height = round(width * ratio)
        for scale in scales:
            x, y = width * scale / 2, height * scale / 2
            boxes.append((centre - x, centre - y, centre + x, centre + y))
    return torch.tensor(boxes)


class AnchorGrid(nn.Module):
    """The base anchors repeated over the cells of a feature map.

    Args:
        base_size, scales, ratios: see `base_anchors`.
        stride: picture pixels a cell.
    """

    base: Tensor

    def __init__(
        self,
        *,
        base_size: float = 16,
        scales: Sequence[float] = (8, 16, 32),
        ratios: Sequence[float] = (0.5, 1, 2),
        stride: int = 16,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("base", base_anchors(base_size, scales, ratios), persistent=False)

    def __len__(self) -> int:
        """Anchors a cell, A."""
        return self.base.shape[0]

    def forward(self, height: int, width: int) -> Tensor:
        """Anchors of a map of height x width cells: [height * width * A, 4], row by row."""
        device = self.base.device
        y, x = torch.meshgrid(
            torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
        )
        shifts = torch.stack([x, y, x, y], dim=-1) * self.stride  # [H, W, 4]
        return (shifts[:, :, None] + self.base).reshape(-1, 4)

    def in_pictures(self, sizes: Sequence[tuple[int, int]], height: int, width: int) -> Tensor:
        """Whether each anchor's cell lies on its picture and not on the padding: [N, K] bool.

        sizes: (height, width) in pixels of each picture; height, width: of the map, in cells.
        """
        y = torch.arange(height, device=self.base.device) * self.stride
        x = torch.arange(width, device=self.base.device) * self.stride
        cells = torch.stack([(y < size[0])[:, None] & (x < size[1])[None, :] for size in sizes])
        return cells.flatten(1).repeat_interleave(len(self), dim=1)
