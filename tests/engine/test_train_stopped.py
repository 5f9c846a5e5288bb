"""A training in a process of its own, stopped from outside; its run is the toy of test_train.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rfcn.engine.checkpoint import newest_good

COMMAND = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest, test_train
from torch.utils.data import DataLoader, IterableDataset
from rfcn.engine.signals import stop_on_signals

class Slow(conftest.ToyDetector):
    def forward(self, batch, targets):
        time.sleep(0.02)
        return super().forward(batch, targets)

class Batches(conftest.ToyLoader, IterableDataset):
    pass

test_train.SILENT = {"tensorboard": False, "console": True}
test_train.seed_everything(0)
run = test_train.Run(Path(sys.argv[2]), Slow, save_every=100_000)
with stop_on_signals() as stop:
    loader = DataLoader(Batches(run.start_step), batch_size=None, num_workers=1)
    run.go(loader, schedule=test_train.Schedule(0.01, 100_000))
    sys.exit(stop.exit_code)
"""


def test_t9_sigterm_to_a_real_group_of_processes_saves_and_says_how_to_go_on(tmp_path):
    here = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(here), str(tmp_path)],
        cwd=here.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        log = tmp_path / "metrics.jsonl"
        wait_for(lambda: log.exists() and log.stat().st_size > 0, child)
        os.killpg(child.pid, signal.SIGTERM)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 143, errors
    assert "SIGTERM: stopping after this step" in errors
    assert "Traceback" not in errors
    assert "stopped by SIGTERM after step" in output
    assert "--resume" in output
    saved = newest_good(tmp_path / "checkpoints", print)
    assert saved is not None
    assert f"after step {saved['step']}," in output


def wait_for(condition, child):
    for _ in range(1200):
        if condition():
            return
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the training did not begin")
