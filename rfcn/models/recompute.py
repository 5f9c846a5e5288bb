"""Activation checkpointing: memory for time (Chen et al., 2016, arXiv 1604.06174).

A residual block that is trained keeps what it was given, instead of all it has computed, and
computes it again when its gradient is due. The numbers are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock, Bottleneck

from rfcn.errors import ConfigError
from rfcn.models.tiny import ResidualBlock

BatchNorm = nn.modules.batchnorm._BatchNorm
BLOCKS = (BasicBlock, Bottleneck, ResidualBlock)


def recompute_blocks(detector: nn.Module) -> int:
    """Let every residual block of a detector forget its activations; how many there are.

    Names and values of the weights stay as they are. Where no gradient is wanted nothing changes.

    Raises:
        ConfigError: it has none (VGG-16).
    """
    blocks = [module for module in detector.modules() if isinstance(module, BLOCKS)]
    if not blocks:
        raise ConfigError(
            "runtime.activation_checkpointing computes residual blocks twice, and this detector "
            "has none. Turn it off; to save memory with VGG-16, raise train.accumulate or lower "
            "data.train_short_sides."
        )
    for block in blocks:
        forward: Callable[[Tensor], Tensor] = block.forward
        block.forward = partial(_recomputed, forward, _live_norms(block))  # type: ignore[method-assign]
    return len(blocks)


def _recomputed(forward: Callable[[Tensor], Tensor], norms: list[BatchNorm], x: Tensor) -> Tensor:
    """What a block makes of x: [N, C, H, W]."""
    if not torch.is_grad_enabled():
        return forward(x)
    if not norms:
        return checkpoint(forward, x, use_reentrant=False)
    contexts = partial(_contexts, norms)
    return checkpoint(forward, x, use_reentrant=False, context_fn=contexts)


def _contexts(
    norms: list[BatchNorm],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first time that a block is computed, and around the second."""
    return nullcontext(), _still_statistics(norms)


@contextmanager
def _still_statistics(norms: list[BatchNorm]) -> Iterator[None]:
    """Inside, batch norm counts what it sees in copies: it has seen it before."""
    own = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, own, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


def _live_norms(block: nn.Module) -> list[BatchNorm]:
    """Its norms that keep running statistics."""
    norms = [one for one in block.modules() if isinstance(one, BatchNorm)]
    return [one for one in norms if one.track_running_stats]
