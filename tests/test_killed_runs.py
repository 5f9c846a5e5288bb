"""The kill test, in short; `python tools/kill_test.py --kills 100` is the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.same_runs import differences

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_killed_runs_end_as_an_undisturbed_one(tmp_path: Path) -> None:  # W13 W18 W19
    noted = tmp_path / "kills.json"
    words = ("--kills", "2", "--steps", "9", "--seed", "1", "--forked", "--json", noted)
    command = [sys.executable, "tools/kill_test.py", *map(str, words), "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = json.loads(noted.read_text())["kills"]
    assert len(kills) >= 2
    assert f"{len(kills)} kills survived" in done.stdout

    whole, killed = tmp_path / "undisturbed", tmp_path / "run1"
    log = killed / "metrics.jsonl"
    lines = log.read_text()
    log.write_text(lines.replace('"images": 4', '"images": 5'))
    assert ['"images": 5' in found for found in differences(whole, killed)] == [True]
    log.write_text(lines)
    found = killed / "eval" / "detections.json"
    found.write_text(found.read_text().replace("]", " ]", 1))
    assert differences(whole, killed) == ["detections.json"]
    (killed / "a.tmp").touch()
    assert differences(whole, killed)[-1] == "a.tmp: in one of them only"
