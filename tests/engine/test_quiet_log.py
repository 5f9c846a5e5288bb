"""The log of a process that does not lead."""

import json
from pathlib import Path

import numpy as np
import pytest

from rfcn.engine.bundle import FailedStep
from rfcn.engine.logging import RunLog
from rfcn.engine.quiet_log import QuietLog, open_log
from tests.engine.conftest import toy_batch


def test_it_keeps_its_failure_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with QuietLog(tmp_path, 2) as log:
        log.say("a line")
        log.warn("another")
        log.stage(1, of=4, until=10)
        log.scalars({"val/mAP@0.5": 0.5}, 3)
        log.picture("pictures/targets", np.zeros((2, 2, 3), np.uint8), 3)
        log.text("config", "data:")
        failed = FailedStep(3, [toy_batch(3)], {}, {})
        told = log.failure({"likely_cause": "chance", "pictures": []}, failed)
    assert capfd.readouterr() == ("", "")
    place = tmp_path / "failure" / "step_00000003_rank_2"
    assert f"rfcn replay {place}" in told
    assert json.loads((place / "failure.json").read_text())["likely_cause"] == "chance"


def test_both_logs_hear_the_same_words() -> None:
    spoken = {name for name in vars(RunLog) if not name.startswith("_")}
    heard = {name for name in vars(QuietLog) if not name.startswith("_")}
    assert spoken - heard == {"close"}, "a `with` block closes it"
    assert heard <= spoken


def test_who_leads_writes(tmp_path: Path) -> None:
    with open_log(tmp_path, 0, iterations=1, tensorboard=False, console=False) as log:
        assert isinstance(log, RunLog)
    assert isinstance(open_log(tmp_path, 1, iterations=1, tensorboard=False), QuietLog)
