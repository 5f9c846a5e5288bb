"""Convolutions that learn where to look (Deformable ConvNets, arXiv 1703.06211, section 2.1)."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

OFFSET_GROUPS = 4
"""Groups of channels that look at places of their own (Deformable-ConvNets, ResNet-101)."""


class DeformableConv2d(nn.Conv2d):
    """A convolution whose every tap is shifted by what a second one, `offset`, says place by place.

    The second starts at zero: at first this is the convolution it was made from.

    Args:
        layer: the plain convolution; its weights are copied.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        where: dict[str, Any] = {
            name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")
        }
        bias = layer.bias is not None
        super().__init__(layer.in_channels, layer.out_channels, **where, bias=bias)
        self.load_state_dict(layer.state_dict())
        offsets = 2 * self.kernel_size[0] * self.kernel_size[1] * OFFSET_GROUPS
        self.offset = nn.Conv2d(layer.in_channels, offsets, **where)
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, C', H', W'], the shape of the plain convolution."""
        # In float32 at least: 16 bits would move the taps, and on CPUs there is no such kernel.
        full = torch.promote_types(x.dtype, torch.float32)
        found: Tensor = deform_conv2d(
            x.to(full),
            self.offset(x).to(full),
            self.weight.to(full),
            None if self.bias is None else self.bias.to(full),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        return found.to(x.dtype)
