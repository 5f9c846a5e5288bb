"""A run of two real processes: the same steps, the same figures, and one that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rfcn.assessment import assess
from rfcn.build import build_optimizer, build_train_loader
from rfcn.config.loader import load_config
from rfcn.datasets.voc import VOCDataset
from rfcn.engine.distributed import World
from rfcn.engine.logging import RunLog
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.inference.detector import Detector
from tests.in_processes import free_port, in_processes, lone

STEPS = 20
ONE_SIZE = ("data.train_short_sides=[112]", "train.batch_size=4")
"""Square pictures, so that nothing is padded, whoever shares a batch."""


class Square:
    """A data set with every picture cut to its upper left square."""

    def __init__(self, pictures: VOCDataset) -> None:
        self.pictures = pictures
        self.sizes = [(96, 96)] * len(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        sample = self.pictures[index]
        return replace(sample, image=np.ascontiguousarray(sample.image[:96, :96]))

    def reduced(self, index: int, at_least: tuple[int, int]):  # type: ignore[no-untyped-def]
        return self[index]


def learn(world: World, config_file: Path, folder: Path, pieces: int) -> None:
    """Twenty steps in double precision; the parameters go to a file of each process."""
    config = load_config(config_file, [*ONE_SIZE, f"train.accumulate={pieces}"])
    train_set = VOCDataset(config.data.root, "train")
    loader = build_train_loader(config, Square(train_set), rank=world.rank, processes=world.size)
    torch.manual_seed(0)
    from rfcn.build import build_detector

    model = build_detector(config.model, train_set.class_names).double()
    folder.mkdir(exist_ok=True)
    with RunLog(folder, iterations=STEPS, tensorboard=False, console=False) as log:
        train(
            model,
            loader,
            optimizer=build_optimizer(config.train, model),
            schedule=Schedule(0.02, STEPS),
            log=log,
            milestones=Milestones(lambda step: None, STEPS),
            manner=Manner(35.0, pieces, world),
        )
    torch.save(model.state_dict(), folder / "weights.pt")


def measure(world: World, weights: Path, folder: Path) -> None:
    """The evaluation of a trained detector, its pictures shared."""
    detector = Detector.from_pretrained(weights)
    config = detector.config
    val_set = VOCDataset(config.data.root, "val", classes=detector.class_names)
    result = assess(
        detector.model,
        val_set,
        config,
        device=torch.device("cpu"),
        output=folder / f"process{world.rank}",
        world=world,
    )
    assert (result is not None) == world.leads


def everything(world: World, config_file: Path, weights: Path, folder: Path) -> None:
    """Both jobs, for starting two processes is the slow part."""
    learn(world, config_file, folder / f"learned{world.rank}", 1)
    measure(world, weights, folder)


@pytest.fixture(scope="module")
def two(trained_run, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("two")
    in_processes(2, everything, trained_run.config, trained_run.weights, folder)
    return folder


def test_two_processes_and_two_pieces_learn_what_one_learns(  # D8
    trained_run, two: Path, tmp_path: Path
) -> None:
    lone(learn, trained_run.config, tmp_path / "whole", 1)
    lone(learn, trained_run.config, tmp_path / "pieces", 2)
    whole = torch.load(tmp_path / "whole/weights.pt")
    for other in (tmp_path / "pieces", two / "learned0", two / "learned1"):
        state = torch.load(other / "weights.pt")
        for name, value in whole.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-8, msg=name)


def test_two_processes_measure_what_one_measures(trained_run, two: Path, tmp_path: Path) -> None:
    lone(measure, trained_run.weights, tmp_path)  # D2 D7: three pictures for two processes
    for name in ("detections.json", "metrics.json", "per_class.csv"):
        alone = (tmp_path / "process0/eval" / name).read_bytes()
        assert (two / "process0/eval" / name).read_bytes() == alone, name
    assert not (two / "process1").exists()


def test_the_command_measures_in_two_processes_what_it_measures_in_one(
    trained_run, tmp_path: Path
) -> None:
    from rfcn.cli.main import main

    words = ("eval", "--weights", str(trained_run.weights), "--no-report", "-o")
    shared = torchrun(*words, str(tmp_path / "shared"))
    said = shared.communicate(timeout=300)[0]
    assert shared.returncode == 0, said
    assert said.count("AP@0.5/11pt") == 1, "one process speaks"
    assert main([*words, str(tmp_path / "alone")]) == 0
    files = [tmp_path / name / "eval/detections.json" for name in ("shared", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()


# ------------------------------------------------------------------------------- one that dies


def torchrun(*words: str) -> subprocess.Popen[str]:
    """A command in two processes that are started again when one of them dies."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--max-restarts", "1", "--master-port", str(free_port())),
            *("-m", "rfcn.cli.main", *words),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def training(config: Path, output: Path) -> subprocess.Popen[str]:
    """Twelve steps."""
    return torchrun(
        *("train", "-c", str(config), "-o", str(output), "--set", "train.iterations=12"),
        *("train.lr_steps=[]", "runtime.checkpoint_every=2", "runtime.log_every=1"),
        *("runtime.pictures=0", "runtime.tensorboard=false", "eval.report=false"),
    )


def steps_taken(output: Path) -> int:
    log = output / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def workers_of(process: subprocess.Popen[str]) -> Iterator[tuple[int, str]]:
    """(process number, RANK) of the children that torchrun started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in map(int, children):
        words = Path(f"/proc/{child}/environ").read_text().split("\0")
        yield from ((child, word.removeprefix("RANK=")) for word in words if word[:5] == "RANK=")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
def test_a_process_that_is_killed_is_restarted_and_nothing_is_lost(  # D3
    trained_run, tmp_path: Path
) -> None:
    smooth = training(trained_run.config, tmp_path / "smooth")
    said = smooth.communicate(timeout=300)[0]
    assert smooth.returncode == 0, said

    killed = training(trained_run.config, tmp_path / "killed")
    deadline = time.monotonic() + 240
    while steps_taken(tmp_path / "killed") < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    victims = [number for number, rank in workers_of(killed) if rank == "1"]
    os.kill(victims[0], signal.SIGKILL)
    said = killed.communicate(timeout=300)[0]
    assert killed.returncode == 0, said
    assert "going on after step" in said
    states = [
        (tmp_path / name / "weights/last/model.safetensors").read_bytes()
        for name in ("smooth", "killed")
    ]
    assert states[0] == states[1]
