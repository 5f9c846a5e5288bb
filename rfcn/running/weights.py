"""The weights that a run keeps under a name, for itself and for others: `weights/NAME`."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rfcn.config.schema import Config
from rfcn.engine.distributed import World
from rfcn.engine.weights import load_weights, save_weights


class KeptWeights:
    """The folder `weights` of a run.

    Args:
        output: the folder of the run. config, class_names: what the detector is made of; both
            travel with its weights. world: of its processes the one that leads writes.
    """

    def __init__(
        self, output: Path, config: Config, class_names: tuple[str, ...], world: World
    ) -> None:
        self._folder = output / "weights"
        self._config = config
        self._class_names = class_names
        self._world = world

    def keep(
        self, name: str, state: Mapping[str, Tensor], step: int, figures: Mapping[str, float]
    ) -> None:
        """Write those of `step`; when this returns they are there for all processes.

        figures: what was measured of them.
        """
        if self._world.leads:
            facts = {
                "classes": list(self._class_names),
                "config": self._config.model_dump(mode="json"),
                "metrics": {"step": step, **figures},
            }
            save_weights(self._folder / name, state, facts)
        self._world.share("the weights are there")

    def read(self, name: str) -> Mapping[str, Tensor]:
        """Those that were kept under a name."""
        return load_weights(self._folder / name)[0]
