"""The log of a process that does not lead: it says nothing, and keeps only its own failure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rfcn.engine.bundle import FailedStep, RunFacts, where_to_look, write_bundle
from rfcn.engine.logging import NOWHERE, RunLog, StepRecord


class QuietLog:
    """Hears all that a run tells its `RunLog`. Use it in a `with` block, as that one."""

    def __init__(self, folder: Path, rank: int, facts: RunFacts = NOWHERE) -> None:
        self._folder = folder
        self._rank = rank
        self._facts = facts

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

    def failure(self, report: Mapping[str, Any], failed: FailedStep) -> str:
        """Keep what this process saw of a failed step, in failure/step_NNNNNNNN_rank_R."""
        folder = self._folder / "failure"
        return where_to_look(*write_bundle(folder, failed, report, self._facts, rank=self._rank))


Log = RunLog | QuietLog
"""What a run tells its news to."""


def open_log(folder: Path, rank: int, *, facts: RunFacts = NOWHERE, **options: Any) -> Log:
    """The log of process `rank`; options: see `RunLog`."""
    if rank == 0:
        return RunLog(folder, facts=facts, **options)
    return QuietLog(folder, rank, facts)
