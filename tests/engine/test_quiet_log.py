"""The log of a process that does not lead."""

import json
from pathlib import Path

import numpy as np
import pytest

from rfcn.engine.logging import RunLog
from rfcn.engine.quiet_log import QuietLog, open_log


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
        log.failure({"step": 3, "ids": ["a"]})
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in tmp_path.iterdir()] == ["failure_2.json"]
    assert json.loads((tmp_path / "failure_2.json").read_text()) == {"step": 3, "ids": ["a"]}


def test_both_logs_hear_the_same_words() -> None:
    spoken = {name for name in vars(RunLog) if not name.startswith("_")}
    heard = {name for name in vars(QuietLog) if not name.startswith("_")}
    assert spoken - heard == {"close"}, "a `with` block closes it"
    assert heard <= spoken


def test_who_leads_writes(tmp_path: Path) -> None:
    with open_log(tmp_path, 0, iterations=1, tensorboard=False, console=False) as log:
        assert isinstance(log, RunLog)
    assert isinstance(open_log(tmp_path, 1, iterations=1, tensorboard=False), QuietLog)
