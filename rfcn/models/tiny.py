"""A small residual backbone to be trained from scratch: the demo, tests, and CPUs."""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.errors import ConfigError
from rfcn.models.deformable import DeformableConv2d
from rfcn.models.normalization import group_norm
from rfcn.models.resnet import Conv5
from rfcn.models.tail import GlobalAverage, Tail
from rfcn.structures import Features

Stage = Literal["conv2", "conv3", "conv4"]
"""What heads can read without conv5."""


class TinyBackbone(nn.Module):
    """Four residual stages after a strided stem; the last is conv5, as in `ResNet`.

    Args:
        width: channels of the stem; the stages have 2, 4, 4 and 4 times as many.
        stride: 8 or 16 pixels a cell of conv4.
        conv5: `a_trous` and `deformable` keep the resolution of conv4; `stride_32`, named after
            that of the large networks, halves it.
        norm: `group` (any batch size) or live `batch` statistics.
    """

    def __init__(
        self,
        width: int,
        *,
        stride: int = 16,
        conv5: Conv5 = "a_trous",
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        super().__init__()
        self.stride = stride
        halves = conv5 == "stride_32"
        self.roi_stride = 2 * stride if halves else stride
        self.rpn_channels = self.roi_channels = 4 * width
        make_norm = group_norm if norm == "group" else nn.BatchNorm2d
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = make_norm(width)
        self.conv2 = ResidualBlock(width, 2 * width, stride=2, make_norm=make_norm)
        self.conv3 = ResidualBlock(2 * width, 4 * width, stride=2, make_norm=make_norm)
        self.conv4 = ResidualBlock(4 * width, 4 * width, stride=stride // 8, make_norm=make_norm)
        last = {"stride": 2} if halves else {"dilation": 2}
        block = ResidualBlock(4 * width, 4 * width, **last, make_norm=make_norm)
        for module in (*self.modules(), *block.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if conv5 == "deformable":
            block.conv2 = DeformableConv2d(block.conv2)
        self.conv5: nn.Module = block
        self.conv5_reads: Stage = "conv4"

    def forward(self, images: Tensor) -> Features:
        """images: [N, 3, H, W] normalised -> conv4, of `stride`, and conv5 (or the stage that heads
        read without it), of `roi_stride`."""
        conv2 = self.conv2(F.relu(self.norm1(self.conv1(images))))
        conv3 = self.conv3(conv2)
        conv4 = self.conv4(conv3)
        read: dict[Stage, Tensor] = {"conv2": conv2, "conv3": conv3, "conv4": conv4}
        return Features(rpn=conv4, roi=self.conv5(read[self.conv5_reads]))

    def split_off_tail(self) -> Tail:
        """Take conv5 away; see `ResNet.split_off_tail`."""
        tail = Tail(nn.Sequential(self.conv5, GlobalAverage()), self.roi_channels)
        self.let_heads_read("conv4")
        return tail

    def let_heads_read(self, stage: Stage) -> None:
        """Drop conv5: heads read an earlier stage. A cell of conv2 (stride 4) sees 15 x 15 pixels
        of the picture, one of conv3 (stride 8) 39 x 39, beside the statistics of the norms."""
        self.conv5, self.conv5_reads = nn.Identity(), stage
        self.roi_channels = self.conv1.out_channels * (2 if stage == "conv2" else 4)
        self.roi_stride = {"conv2": 4, "conv3": 8, "conv4": self.stride}[stage]

    def trunk(self, images: Tensor) -> Tensor:
        """What proposals and heads share; see `ResNet.trunk`."""
        conv4: Tensor = self.conv4(self.conv3(self.conv2(F.relu(self.norm1(self.conv1(images))))))
        return conv4

    @property
    def above_trunk(self) -> nn.Module:
        """What only heads read through: conv5.

        Raises:
            ConfigError: heads read an earlier stage than proposals do.
        """
        if self.conv5_reads != "conv4":
            raise ConfigError(
                f"the heads read {self.conv5_reads} of the tiny backbone and the proposals conv4, "
                "so stages cannot share conv4. Use train.scheme joint, or let the heads read conv4 "
                "or conv5."
            )
        return self.conv5


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (ResNet's basic block)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        make_norm: Callable[[int], nn.Module] = group_norm,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.norm1 = make_norm(out_channels)
        self.conv2 = nn.Conv2d(
            out_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm2 = make_norm(out_channels)
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), make_norm(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]."""
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        # Not the 1x1 convolution strides, but what it is given: the same numbers, and oneDNN
        # corrupts memory in the gradient of a strided one of fewer than 16 channels-last channels.
        return F.relu(self.shortcut(x[:, :, :: self.stride, :: self.stride]) + residual)
