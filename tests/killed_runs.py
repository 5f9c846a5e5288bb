"""Kills trainings with SIGKILL at random moments and resumes them, as long as it is told to.

    python tools/kill_test.py --kills 100 --workers 0 1 2 --json kills.json

A tiny detector is trained by the command line, killed, resumed with --resume, killed again, until
it is complete; then its weights, optimiser, log, detections and figures must be, bit for bit, those
of a run that nobody disturbed, which a new interpreter made. Half of the kills come at any moment
of a run, half as soon as it has begun to write a checkpoint, or some milliseconds later; half hit
the process alone, whose data workers then live on for seconds beside its successor, half hit its
workers too; every start draws its number of workers anew.

Starting Python with torch takes longer than the whole run, so one process imports everything,
computes nothing, and forks the trainings; each first seeds Python's and NumPy's generators from
the system, as a new interpreter does.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked: no threads before

from tests.same_runs import differences

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
model:
  backbone: {{type: tiny, width: 8, stride: 8}}
  proposer:
    anchors: {{base_size: 8, scales: [2, 3, 5], ratios: [0.5, 1, 2]}}
    channels: 32
    candidates: 300
    train_proposals: 60
    test_proposals: 30
  roi_head: {{k: 3, reduction: 32}}
  roi_loss: {{type: ohem, keep: 32}}
data:
  root: {root}
  train: train
  val: val
  train_short_sides: [96, 112]
  test_short_side: 112
  max_long_side: 160
train: {{lr: 0.02, iterations: {steps}, lr_steps: [], warmup_iterations: 5, ema_decay: 0.9}}
eval: {{every: {half}, report: false}}
runtime: {{device: cpu, log_every: 2, checkpoint_every: 3, pictures: 0, tensorboard: false}}
"""
PAIR = ("train.batch_size=2", "train.schedule_batch_size=2")
ANY, SAVING = "any moment", "while saving"
SAVING_SECONDS = 0.03
"""Aimed kills come so long, at most, after a checkpoint was begun: some after it is whole."""


@dataclass(frozen=True)
class Kill:
    """What was killed, and when."""

    workers: int
    aim: str
    """`ANY` or `SAVING`."""
    group: bool
    """The data workers were killed with it."""
    step: int
    """The newest whole checkpoint at that moment; 0 where there was none."""
    found: str
    """What was half done, by the files that were left."""


class Training:
    """The command whose runs are killed."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.data, self.config = folder / "shapes", folder / "tiny.yaml"
        self.log = folder / "said.txt"
        self.config.write_text(CONFIG.format(root=self.data, steps=steps, half=-(-steps // 2)))

    def words(self, output: Path, workers: int) -> list[str]:
        """Its arguments, which go on with a run where there is one, as a user would."""
        words = ["train", "-c", str(self.config), "-o", str(output)]
        if any((output / "checkpoints").glob("*.pt")):
            words.append("--resume")
        elif (output / "config.yaml").exists():
            words.append("--overwrite")
        return [*words, "--set", *PAIR, f"data.workers={workers}"]

    def fork(self, words: Sequence[str]) -> int:
        """A process that runs a command, in a group of its own; its number."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.setpgid(0, 0)
            _speak_to(self.log)
            code = _command(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def finish(self, words: Sequence[str]) -> None:
        """Run a command to its end, which must be a good one."""
        self.ended(os.waitpid(self.fork(words), 0)[1])

    def ended(self, status: int) -> bool:
        """Whether a process has ended well; False where it was killed by SIGKILL.

        Raises:
            AssertionError: neither; its last words.
        """
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return False
        said = "\n".join(self.log.read_text().splitlines()[-40:])
        assert status == 0, f"a training ended with status {status}:\n{said}"
        return True


def _speak_to(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _command(words: Sequence[str]) -> int:
    import numpy as np
    from matplotlib.figure import Figure

    from rfcn.cli.main import main as command

    Figure.draw = lambda *_: None  # blank: to draw curves takes longer than to train
    random.seed()
    np.random.seed()
    print("\n$ rfcn", *words, flush=True)
    return command(list(words))


def import_everything() -> None:
    """What a training imports, so that forks of this process have it."""
    import matplotlib.backends.backend_agg  # noqa: F401

    import rfcn.cli.make_shapes
    import rfcn.cli.report
    import rfcn.cli.train
    import rfcn.experiment  # noqa: F401

    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads: forks of this process could stand still"


# ------------------------------------------------------------------------------------------ killing


class Killer:
    """Begins runs, kills and resumes them."""

    def __init__(self, training: Training, workers: Sequence[int], seed: int) -> None:
        self.training = training
        self.workers = workers
        self.chance = random.Random(seed)
        self.seconds = 1.0
        """That an undisturbed run takes."""
        self.groups: list[int] = []
        """Process groups of which somebody may live yet."""

    def attempt(self, output: Path) -> Kill | None:
        """Go on with a run and kill it, if it is not complete before; what was killed."""
        workers = self.chance.choice(self.workers)
        aim = self.chance.choice((ANY, SAVING))
        group = self.chance.random() < 0.5
        child = self.training.fork(self.training.words(output, workers))
        self.groups.append(child)
        status = self._wait(child, output, aim)
        if status is None:
            (os.killpg if group else os.kill)(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        if self.training.ended(status):
            return None
        return Kill(workers, aim, group, *_state_of(output))

    def _wait(self, child: int, output: Path, aim: str) -> int | None:
        """Until the moment to kill; the status of a process that has ended before."""
        began = time.monotonic()
        saves = self.chance.randint(1, 3)
        seconds = self.chance.uniform(0, self.seconds)
        writing = False
        while aim == SAVING or time.monotonic() - began < seconds:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            if aim == ANY:
                time.sleep(0.002)
                continue
            before, writing = writing, _is_writing(output / "checkpoints")
            saves -= writing and not before
            if saves == 0:
                time.sleep(self.chance.choice((0, self.chance.uniform(0, SAVING_SECONDS))))
                return None
            time.sleep(0.0002)
        return None

    def wait_for_workers(self, seconds: float = 60) -> None:
        """Until all data workers whose run was killed have gone too.

        Raises:
            AssertionError: some have not.
        """
        end = time.monotonic() + seconds
        while left := sorted(_living_groups() & set(self.groups)):
            assert time.monotonic() < end, f"data workers live on, of the groups {left}"
            time.sleep(0.1)
        self.groups.clear()


def _is_writing(folder: Path) -> bool:
    try:
        return any(name.endswith(".tmp") for name in os.listdir(folder))
    except FileNotFoundError:
        return False


def _state_of(output: Path) -> tuple[int, str]:
    """The newest whole checkpoint that a killed run left, and what was half done."""
    digests = {path.stem for path in output.glob("checkpoints/*.sha256")}
    files = {path.name for path in output.glob("checkpoints/*.pt")}
    step = max((int(Path(name).stem[5:]) for name in files), default=0)
    unfinished = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.tmp"))
    if unfinished:
        return step, f"writing {unfinished[0]}"
    if files - digests:
        return step, "between a checkpoint and its digest"
    return step, "deleting an old checkpoint" if len(files) > 3 or digests - files else ""


def _living_groups() -> set[int]:
    """Of all processes but those that only wait to be counted."""
    groups = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = file.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        groups |= set() if state == "Z" else {int(group)}
    return groups


# -------------------------------------------------------------------------------------- the command


@dataclass
class Tally:
    """What has happened so far; kept in a file, so that another call goes on."""

    file: Path | None
    steps: int
    kills: list[Kill]
    complete: int = 0
    """Runs that were killed on their way, and compared in the end."""

    @classmethod
    def read(cls, file: Path | None, steps: int) -> "Tally":
        """What earlier calls have noted."""
        if file is None or not file.exists():
            return cls(file, steps, [])
        noted = json.loads(file.read_text())
        return cls(file, steps, [Kill(**one) for one in noted["kills"]], noted["complete"])

    def add(self, kills: Sequence[Kill]) -> None:
        """A run is complete, and was killed so often."""
        self.kills += kills
        self.complete += 1
        if self.file is not None:
            rows = ",\n  ".join(json.dumps(asdict(kill)) for kill in self.kills)
            facts = {"said": self.summary(), "complete": self.complete, "steps": self.steps}
            text = json.dumps(facts, indent=1)[:-2] + f',\n "kills": [\n  {rows}\n ]\n}}\n'
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(text)

    def summary(self) -> str:
        """The sentence to quote."""
        saving = sum("checkpoint" in kill.found for kill in self.kills)
        workers = Counter(kill.workers for kill in self.kills)
        shares = ", ".join(f"{count} with {number}" for number, count in sorted(workers.items()))
        return (
            f"{len(self.kills)} kills survived ({saving} inside saving a checkpoint; {shares} data "
            f"workers), {self.complete} runs of {self.steps} steps: weights, optimiser, log and "
            "detections bit for bit those of an undisturbed run"
        )


def undisturbed(training: Training, output: Path, forked: bool) -> None:
    """Draw the data, and make the run that the others must equal."""
    training.finish(["make-shapes", "-o", str(training.data), "--train", "6", "--val", "3"])
    words = training.words(output, 0)
    if forked:
        training.finish(words)
        return
    print("an undisturbed run, in a new interpreter ...", flush=True)
    with training.log.open("ab") as log:
        command = [sys.executable, "-m", "rfcn.cli.main", *words]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True)


def kill_runs(reference: Path, killer: Killer, tally: Tally, kills: float, seconds: float) -> int:
    """Kill and resume runs until there were so many kills, or the time is over; the exit code."""
    training = killer.training
    end = time.monotonic() + seconds
    number = 0
    while len(tally.kills) < kills and time.monotonic() < end:
        output, of_run = reference.with_name(f"run{number}"), []
        began = time.monotonic()
        if number == 0:  # not killed: how long it takes, and that a fork does the same
            training.finish(training.words(output, max(killer.workers)))
            killer.seconds = time.monotonic() - began
        while number and (kill := killer.attempt(output)):
            of_run.append(kill)
            print(
                f"kill {len(tally.kills) + len(of_run)}: {kill.workers} workers, "
                f"{'all' if kill.group else 'alone'}, {kill.aim}, after step {kill.step}"
                + (f", {kill.found}" if kill.found else ""),
                flush=True,
            )
        killer.wait_for_workers()
        if found := differences(reference, output):
            print(f"{output} DIFFERS from {reference}:", *found[:20], sep="\n  ")
            return 1
        number += 1
        if of_run:
            tally.add(of_run)
    print(tally.summary())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 1 if a run came out different."""
    parser = argparse.ArgumentParser("kill_test.py", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, help="how many, at least (100, without --minutes)")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="data workers")
    parser.add_argument("--steps", type=int, default=30, help="of a run (30)")
    parser.add_argument("--seed", type=int, help="of the moments (another one at each call)")
    parser.add_argument("--json", type=Path, help="note all kills there; another call goes on")
    parser.add_argument("--forked", action="store_true", help="the undisturbed run too: quicker")
    parser.add_argument("--keep", type=Path, help="folder for the runs (one that is deleted)")
    given = parser.parse_args(argv)
    kills = given.kills or (float("inf") if given.minutes else 100)
    seconds = 60 * given.minutes if given.minutes else float("inf")
    import_everything()
    with TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        training, reference = Training(folder, given.steps), folder / "undisturbed"
        undisturbed(training, reference, given.forked)
        killer = Killer(training, given.workers, given.seed or time.time_ns())
        return kill_runs(reference, killer, Tally.read(given.json, given.steps), kills, seconds)
