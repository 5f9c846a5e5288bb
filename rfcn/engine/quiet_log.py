"""The log of a process that does not lead: it says nothing, and keeps only its own failure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rfcn.engine.logging import RunLog, StepRecord


class QuietLog:
    """Hears all that a run tells its `RunLog`. Use it in a `with` block, as that one."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = folder / f"failure_{rank}.json"

    def __enter__(self) -> "QuietLog":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, record: StepRecord) -> None:
        """Nothing: the process that leads writes the losses of all."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def stage(self, number: int, *, of: int, until: int) -> None:
        """Nothing."""

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Nothing."""

    def picture(self, tag: str, image: np.ndarray, step: int) -> None:
        """Nothing."""

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def warn(self, line: str) -> None:
        """Nothing."""

    def failure(self, report: Mapping[str, Any]) -> None:
        """Keep what this process saw of a failed step, in failure_RANK.json."""
        self._file.write_text(json.dumps(report, indent=2) + "\n")


Log = RunLog | QuietLog
"""What a run tells its news to."""


def open_log(folder: Path, rank: int, **options: Any) -> Log:
    """The log of process `rank`; options: see `RunLog`."""
    return RunLog(folder, **options) if rank == 0 else QuietLog(folder, rank)
