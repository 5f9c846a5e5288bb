"""VGG-16 as Fast and Faster R-CNN use it: one map of stride 16, conv5_3, for proposals and heads.

Stages are counted conv1..conv5, and `fc` for fc6 and fc7. Parameters keep torchvision's names.
"""

from collections import OrderedDict
from typing import ClassVar

import torchvision
from torch import Tensor, nn

from rfcn.models.tail import Tail
from rfcn.structures import Features

POOLED = 7
"""Side of what fc6 takes."""


class VGG16(nn.Module):
    """The convolutions of VGG-16 without the last pooling; fc6 and fc7 wait to be split off.

    Args:
        frozen_stages: how many stages, from conv1 on, never get gradients (Fast R-CNN: 2).
    """

    architecture = "vgg16"
    stages: ClassVar = {
        "conv1": ("features.0", "features.2"),
        "conv2": ("features.5", "features.7"),
        "conv3": ("features.10", "features.12", "features.14"),
        "conv4": ("features.17", "features.19", "features.21"),
        "conv5": ("features.24", "features.26", "features.28"),
        "fc": ("classifier.0", "classifier.3"),
    }
    stride = roi_stride = 16
    rpn_channels = roi_channels = 512

    def __init__(self, *, frozen_stages: int = 2) -> None:
        super().__init__()
        network = torchvision.models.vgg16(weights=None)
        self.features = network.features[:-1]
        self.classifier = network.classifier[:-1]
        for names in list(self.stages.values())[:frozen_stages]:
            for name in names:
                self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> Features:
        """images: [N, 3, H, W] normalised -> conv5_3 twice, H // 16 x W // 16 cells."""
        conv5 = self.trunk(images)
        return Features(rpn=conv5, roi=conv5)

    def trunk(self, images: Tensor) -> Tensor:
        """What proposals and heads share: images [N, 3, H, W] -> conv5_3."""
        conv5: Tensor = self.features(images)
        return conv5

    @property
    def above_trunk(self) -> nn.Module:
        """What only heads read through: nothing, once fc6 and fc7 are split off."""
        return self.classifier

    def split_off_tail(self) -> Tail:
        """Take fc6 and fc7 away, each with its ReLU and dropout: for a head that runs them on every
        RoI of 7 x 7 cells (see `PooledHead`), or for one that does without."""
        fc6, relu6, dropout6, fc7, relu7, dropout7 = self.classifier
        self.classifier = nn.Sequential()
        named = OrderedDict(
            flatten=nn.Flatten(),
            fc6=fc6, relu6=relu6, dropout6=dropout6,
            fc7=fc7, relu7=relu7, dropout7=dropout7,
        )  # fmt: skip
        return Tail(nn.Sequential(named), fc7.out_features)
