"""ResNet as detectors use it: conv4 for proposals, conv5 for the head (paper, section 2).

The paper counts stages as conv1..conv5; torchvision's names for the same are `conv1`/`bn1`,
`layer1` (conv2) to `layer4` (conv5). Parameters keep torchvision's names.
"""

from typing import Literal

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from rfcn.models.deformable import DeformableConv2d
from rfcn.models.normalization import FrozenBatchNorm, group_norm
from rfcn.models.tail import GlobalAverage, Tail
from rfcn.structures import Features

STAGES = {
    "conv1": ("conv1", "bn1"),
    "conv2": ("layer1",),
    "conv3": ("layer2",),
    "conv4": ("layer3",),
    "conv5": ("layer4",),
}
"""The modules of each stage, by their torchvision names."""

Conv5 = Literal["a_trous", "stride_32", "deformable"]
Style = Literal["torchvision", "caffe"]


class ResNet(nn.Module):
    """ResNet-18/34/50/101/152. Proposals read conv4, heads conv5, or conv4 once conv5 is split off.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        conv5: `a_trous` keeps the resolution of conv4 by the hole algorithm (paper, section 2);
            `deformable` does too, and the last 3x3 convolution of each block learns where to look
            (arXiv 1703.06211, section 3); `stride_32` halves it, as in classification.
        frozen_stages: how many stages, from conv1 on, never get gradients (py-R-FCN: 2).
        conv5_norm: normalisation inside conv5; all other stages use frozen batch norm, as the
            released codes do everywhere. `group` and `batch` are for a conv5 without pretrained
            weights.
        style: which step of the published network halves the maps. `torchvision`: the 3x3
            convolution of a bottleneck, and a padded max pool. `caffe`, of the weights of He et al.
            and all that were trained from them: its first 1x1 convolution, and a max pool without
            padding whose last window may hang over the edge. Weights of one do not suit the other.
    """

    stages = STAGES
    stride = 16
    """Picture pixels a cell of conv4."""
    roi_stride: int
    """Picture pixels a cell of what the head reads."""
    conv1: nn.Module
    bn1: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        depth: int,
        *,
        conv5: Conv5 = "a_trous",
        frozen_stages: int = 2,
        conv5_norm: Literal["frozen", "group", "batch"] = "frozen",
        style: Style = "torchvision",
    ) -> None:
        super().__init__()
        self.architecture = f"resnet{depth}"
        network = torchvision.models.get_model(
            self.architecture, weights=None, norm_layer=FrozenBatchNorm
        )
        for names in STAGES.values():
            for name in names:
                self.add_module(name, network.get_submodule(name))
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        if style == "caffe":
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
            _stride_first(network)
        self.rpn_channels = _out_channels(self.layer3)
        self.roi_channels = _out_channels(self.layer4)
        self.roi_stride = 32 if conv5 == "stride_32" else 16
        if conv5 != "stride_32":
            _keep_resolution(self.layer4)
        if conv5 == "deformable":
            for block in self.layer4.children():
                assert isinstance(block, BasicBlock | Bottleneck)
                block.conv2 = DeformableConv2d(block.conv2)
        _calm_residuals(network)
        if conv5_norm != "frozen":
            _replace_norms(self.layer4, conv5_norm)
        for names in list(STAGES.values())[:frozen_stages]:
            for name in names:
                self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> Features:
        """images: [N, 3, H, W] normalised -> conv4, ceil(H / 16) x ceil(W / 16) cells, and
        conv5 (or conv4 again) with `roi_stride` for 16. (`caffe`: one cell less for some sizes, and
        H and W of at least 3 pixels.)"""
        conv4 = self.trunk(images)
        return Features(rpn=conv4, roi=self.layer4(conv4))

    def trunk(self, images: Tensor) -> Tensor:
        """What proposals and heads share: images [N, 3, H, W] -> conv4."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        conv4: Tensor = self.layer3(self.layer2(self.layer1(self.pool1(x))))
        return conv4

    @property
    def above_trunk(self) -> nn.Module:
        """What only heads read through: conv5."""
        return self.layer4

    def split_off_tail(self) -> Tail:
        """Take conv5 away: for a head that runs it on every RoI (see `PooledHead`) or for one that
        does without. Heads read conv4 from now on."""
        tail = Tail(nn.Sequential(self.layer4, GlobalAverage()), self.roi_channels)
        self.layer4 = nn.Identity()
        self.roi_channels, self.roi_stride = self.rpn_channels, self.stride
        return tail


def _stride_first(network: nn.Module) -> None:
    """Let the first 1x1 convolution of each bottleneck stride, in the place of its 3x3."""
    for block in network.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def _keep_resolution(conv5: nn.Module) -> None:
    """Stride 1 and dilation 2 in every 3x3 convolution of conv5.

    torchvision's own `replace_stride_with_dilation` gives its first block dilation 1 and refuses
    basic blocks, hence by hand.
    """
    for module in conv5.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)


def _calm_residuals(network: nn.Module) -> None:
    """Let n random branches add up to the size of one: a factor 1 / sqrt(n) on each.

    Frozen norms normalise nothing before weights are loaded, and each block would double what
    passes through it. Pretrained weights replace the factor.
    """
    blocks = [m for m in network.modules() if isinstance(m, BasicBlock | Bottleneck)]
    for block in blocks:
        last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
        nn.init.constant_(last.weight, len(blocks) ** -0.5)


def _replace_norms(stage: nn.Module, kind: Literal["group", "batch"]) -> None:
    make = group_norm if kind == "group" else nn.BatchNorm2d
    for parent in list(stage.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenBatchNorm):
                setattr(parent, name, make(child.weight.numel()))


def _out_channels(stage: nn.Module) -> int:
    convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels
