"""ResNet as R-FCN uses it: conv4 for proposals, conv5 at stride 16 for the head (paper, section 2).

The paper counts stages as conv1..conv5; torchvision's names for the same are `conv1`/`bn1`,
`layer1` (conv2) to `layer4` (conv5). Parameters keep torchvision's names.
"""

from typing import Literal

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from rfcn.models.normalization import FrozenBatchNorm, group_norm
from rfcn.structures import Features

STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
"""The modules of conv1, conv2, ... conv5, by their torchvision names."""


class ResNet(nn.Module):
    """ResNet-18/34/50/101/152 whose conv5 keeps the resolution of conv4 by the hole algorithm.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        frozen_stages: how many stages, from conv1 on, never get gradients (py-R-FCN: 2).
        conv5_norm: normalisation inside conv5; all other stages use frozen batch norm, as the
            released codes do everywhere. `group` and `batch` are for a conv5 without pretrained
            weights.
    """

    stride = 16
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
        frozen_stages: int = 2,
        conv5_norm: Literal["frozen", "group", "batch"] = "frozen",
    ) -> None:
        super().__init__()
        network = torchvision.models.get_model(
            f"resnet{depth}", weights=None, norm_layer=FrozenBatchNorm
        )
        for names in STAGES:
            for name in names:
                self.add_module(name, network.get_submodule(name))
        self.rpn_channels = _out_channels(self.layer3)
        self.roi_channels = _out_channels(self.layer4)
        _keep_resolution(self.layer4)
        _calm_residuals(network)
        if conv5_norm != "frozen":
            _replace_norms(self.layer4, conv5_norm)
        for names in STAGES[:frozen_stages]:
            for name in names:
                self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> Features:
        """images: [N, 3, H, W] normalised -> conv4 and conv5, both of stride 16.

        Both maps have ceil(H / 16) x ceil(W / 16) cells.
        """
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        conv4 = self.layer3(self.layer2(self.layer1(x)))
        return Features(rpn=conv4, roi=self.layer4(conv4))


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
