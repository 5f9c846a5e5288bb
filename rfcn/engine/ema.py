"""The moving average of the weights (Polyak averaging): what evaluation reads, while the weights
themselves go on learning.

torch's `AveragedModel` is a copy of the whole model. This one holds what learns and nothing else:
with two frozen stages and frozen norms that is what changes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rfcn.errors import WeightsError


class WeightAverage:
    """a = d a + (1 - d) w after every step, with d = min(decay, (1 + t) / (10 + t)) at step t, so
    that an average that is young forgets what it began with.

    Averaged are the parameters that require a gradient now, and the running statistics of live
    batch norm. Every process of a run has the same weights, hence the same average.

    Args:
        model: its weights as they are begin the average. decay: d, 0 <= d < 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = changing(model)
        self._averages = {name: weight.clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more step in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._averages.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has its averaged weights; afterwards its own again, to the last bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def take_over(self) -> None:
        """Give the model its averaged weights for good."""
        for name, weight in self._weights.items():
            weight.copy_(self._averages[name])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on exactly."""
        return {"updates": self.updates, "weights": dict(self._averages)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            WeightsError: it averages other weights than those of this model.
        """
        weights: Mapping[str, Tensor] = state["weights"]
        differing = sorted(weights.keys() ^ self._averages.keys())
        differing += [
            name
            for name, average in self._averages.items()
            if name in weights and weights[name].shape != average.shape
        ]
        if differing:
            raise WeightsError(
                f"the checkpoint averages other weights than this model: {', '.join(differing[:5])}"
                ". Resume with the config of the run it came from."
            )
        self.updates = state["updates"]
        for name, average in self._averages.items():
            average.copy_(weights[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        """Let the weights and their averages change places, in the tensors that each has."""
        for name, weight in self._weights.items():
            own = weight.clone()
            weight.copy_(self._averages[name])
            self._averages[name].copy_(own)


def changing(model: nn.Module) -> dict[str, Tensor]:
    """What a training step changes and an average is made of, by its name in the state dict: the
    parameters that require a gradient, and the running statistics of live batch norm."""
    found = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    for prefix, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name, buffer in module.named_buffers(prefix):
                if buffer.is_floating_point():
                    found[name] = buffer
    return found
