"""What `runtime` changes of a detector that is trained: its speed and memory, not its numbers."""

from collections.abc import Iterator

import torch
from torch import nn

from rfcn.build import AnyDetector
from rfcn.config.schema import Runtime
from rfcn.engine.compilation import compile_modules
from rfcn.models.heads.pooled import PooledHead
from rfcn.models.recompute import recompute_blocks
from rfcn.models.rpn import RPNHead


def prepare(detector: AnyDetector, runtime: Runtime, device: torch.device) -> list[str]:
    """Bring a detector onto its device, in the form it is trained in; what is worth a note.

    Raises:
        ConfigError: activation checkpointing, and nothing to compute twice.
        MachineError: it is to be compiled, and cannot be here.
    """
    # what the convolutions of CPUs and GPUs alike are fastest with
    detector.to(device).to(memory_format=torch.channels_last)
    notes = []
    if runtime.activation_checkpointing:
        count = recompute_blocks(detector)
        notes.append(f"activation checkpointing: {count} residual blocks are computed twice")
    if runtime.compile:
        parts = list(dense_parts(detector))
        compile_modules(parts, device)
        names = ", ".join(type(part).__name__ for part in parts)
        notes.append(f"compiled when first used, some minutes in all: {names}")
    return notes


def dense_parts(detector: AnyDetector) -> Iterator[nn.Module]:
    """What compiling pays for: layers over maps of which nothing depends on their values. Proposals
    do, and the operators of the heads are compiled already."""
    yield detector.backbone
    for module in detector.modules():
        if isinstance(module, RPNHead):
            yield module
        if isinstance(module, PooledHead):
            yield module.body
