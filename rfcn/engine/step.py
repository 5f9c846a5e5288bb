"""One step of training: gradients over all pieces and processes, clipped; then the optimizer."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from rfcn.engine import failure
from rfcn.engine.distributed import World
from rfcn.engine.ema import WeightAverage
from rfcn.engine.precision import Precision
from rfcn.structures import ImageBatch, Target

Batch = tuple[ImageBatch, list[Target]]


@dataclass(frozen=True)
class Manner:
    """How a step is taken."""

    max_gradient_norm: float | None = None
    """Longer gradients are shortened to it (2-norm over all parameters)."""
    pieces: int = 1
    """Batches of the loader that make one step: their gradients add up."""
    world: World = field(default_factory=World)
    """The processes that take each step together."""
    precision: Precision = field(default_factory=Precision)
    """What the forward pass computes with."""
    average: WeightAverage | None = None
    """Follows the weights."""


ALONE = Manner()
"""A process by itself, gradients as they are."""


@dataclass(frozen=True)
class Found:
    """What a step has found before it is taken. The gradients are in the parameters."""

    loss: float
    """The sum of all terms."""
    losses: dict[str, Tensor]
    """The terms: scalars, on the device."""
    gradient_norm: float
    """Before it was shortened."""

    @property
    def is_good(self) -> bool:
        """Whether the step may be taken."""
        return failure.step_is_good(self.loss, self.gradient_norm)

    @property
    def overflowed(self) -> bool:
        """Whether nothing is wrong but gradients, for which float16 may have been too narrow."""
        return not self.is_good and failure.step_is_good(self.loss, gradient_norm=0)


def find_gradients(
    wrapped: nn.Module, optimizer: torch.optim.Optimizer, pieces: Sequence[Batch], manner: Manner
) -> Found:
    """The gradients of a step, shortened, in the parameters of a model that `World.wrap` gave."""
    optimizer.zero_grad()
    losses = _add_gradients(wrapped, pieces, manner)
    manner.precision.unscale(optimizer)
    norm = clip_grad_norm_(wrapped.parameters(), manner.max_gradient_norm or float("inf"))
    total = torch.stack(list(losses.values())).sum()
    loss, gradient_norm = torch.stack([total, norm]).tolist()  # the only sync
    return Found(loss, losses, gradient_norm)


def take_step(optimizer: torch.optim.Optimizer, manner: Manner) -> None:
    """Move the parameters along gradients that are good, and the average after them."""
    manner.precision.take(optimizer)
    if manner.average is not None:
        manner.average.update()


def _add_gradients(
    wrapped: nn.Module, pieces: Sequence[Batch], manner: Manner
) -> dict[str, Tensor]:
    """Add the gradients of a step to the parameters; its losses, over all pieces and processes."""
    world = manner.world
    device = next(wrapped.parameters()).device
    summed: dict[str, Tensor] = {}
    for number, (batch, targets) in enumerate(pieces, start=1):
        with nullcontext() if number == len(pieces) else world.alone(wrapped):
            with manner.precision.autocast():
                losses = wrapped(batch.to(device), [each.to(device) for each in targets])
            # averaging divides the gradients by the number of processes
            weighted = torch.stack(list(losses.values())) * batch.share
            manner.precision.backward(weighted.sum() * world.size)
        for name, value in zip(losses, weighted.detach(), strict=True):
            summed[name] = summed[name] + value if name in summed else value
    everywhere = world.total(torch.stack(list(summed.values())))
    return dict(zip(summed, everywhere, strict=True))
