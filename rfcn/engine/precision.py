"""The numbers a training step computes with: float32 throughout, or half of its bits where that
loses nothing that matters.

Weights, gradients, momentum and losses are float32 in any case. With `bfloat16` and `float16`
convolutions and products read and write 16 bits (torch.autocast). float16 ends at 65504 and at 6e-8
already, so its losses are scaled up before the backward pass and gradients down after it; a step
whose gradients left the range nevertheless is skipped, and the scale halved (torch.amp.GradScaler).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from rfcn.errors import WeightsError

Name = Literal["float32", "bfloat16", "float16"]

MOST_SKIPPED = 20
"""So many steps skipped in a row are no search for a scale any more (2**16 / 2**20 < 0.1)."""


class Precision:
    """How losses become gradients in one precision.

    Args:
        name: of the precision. device: `cpu` or `cuda`, where the model is.
    """

    def __init__(self, name: Name = "float32", device: str = "cpu") -> None:
        self.name = name
        self._device = device
        self._scaler = torch.amp.GradScaler(device, enabled=name == "float16")
        self._in_a_row = 0
        self._skipped = 0

    def autocast(self) -> AbstractContextManager[None]:
        """The forward pass belongs inside; what a loss computes there is float32."""
        # Without the cache of cast weights, as each is read once: a pass without gradient before
        # the real one (OHEM in two passes) must not leave casts that pass no gradient on.
        dtype = getattr(torch, self.name)
        enabled = self.name != "float32"
        return torch.autocast(
            self._device, dtype if enabled else None, enabled=enabled, cache_enabled=False
        )

    def backward(self, loss: Tensor) -> None:
        """The backward pass of a scalar; the gradients it adds may be scaled."""
        self._scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients of the optimizer's parameters to their real size; once a step."""
        self._scaler.unscale_(optimizer)

    @property
    def may_skip(self) -> bool:
        """Whether one more step may be skipped because of its gradients."""
        return self._scaler.is_enabled() and self._in_a_row + 1 < MOST_SKIPPED

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        """Take a step along gradients that are finite."""
        self._scaler.step(optimizer)
        self._scaler.update()
        self._in_a_row = 0

    def skip(self) -> str:
        """Leave a step out whose gradients are not finite; what happened, in words."""
        self._scaler.update()
        self._in_a_row += 1
        self._skipped += 1
        row = f", {self._in_a_row} in a row" if self._in_a_row > 1 else ""
        return (
            f"a gradient left the range of float16, so it was not taken; the loss scale is now "
            f"{self._scaler.get_scale():g} ({self._skipped} skipped{row})"
        )

    def give_up(self) -> str:
        """What a gradient that is not finite means here, to be said when the run ends by it."""
        if not self._scaler.is_enabled():
            return ""
        return (
            f" {MOST_SKIPPED} steps in a row left the range of float16 (train.precision), down to "
            f"a loss scale of {self._scaler.get_scale():g}: bfloat16 and float32 reach as far as "
            "any number here."
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on exactly."""
        return {
            "name": self.name,
            "scaler": self._scaler.state_dict(),
            "skipped": self._skipped,
            "in_a_row": self._in_a_row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            WeightsError: it is that of another precision.
        """
        if state["name"] != self.name:
            raise WeightsError(
                f"the checkpoint is of a run with train.precision {state['name']}, and this one "
                f"is {self.name}. Resume with the config of that run."
            )
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state["scaler"]))
        self._skipped, self._in_a_row = state["skipped"], state["in_a_row"]
