"""The two normalisations a detector can train with at one or two pictures a step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine parameters are constants (py-R-FCN: use_global_stats).

    All four are buffers named as in `nn.BatchNorm2d`, so pretrained weights load as they are.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> the same shape."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm (Wu and He, 2018) in their 32 groups, or as many as divide the channels.

    Up to 32 channels that is a group a channel, in other words instance norm.
    """
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)
