"""A run of two real processes: the same steps, the same figures, and one that dies."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfcn import experiment
from rfcn.assessment import assess
from rfcn.build import build_detector, build_optimizer, build_train_loader
from rfcn.config.loader import load_config
from rfcn.config.schema import Config
from rfcn.datasets.voc import VOCDataset
from rfcn.engine.distributed import World
from rfcn.engine.ema import WeightAverage
from rfcn.engine.logging import RunLog
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Batch, Manner
from rfcn.engine.train import Milestones, train
from rfcn.inference.detector import Detector
from rfcn.models.recompute import recompute_blocks
from rfcn.structures import Target
from tests.in_processes import apart, at, free_port, lone

STEPS = 20
ONE_SIZE = ("data.train_short_sides=[112]", "train.batch_size=4")
"""Square pictures, so that nothing is padded, whoever shares a batch."""
FEW_STEPS = (
    *("train.iterations=4", "train.lr_steps=[]", "train.warmup_iterations=2", "eval.every=2"),
    *("runtime.pictures=0", "runtime.tensorboard=false", "runtime.log_every=1"),
    "eval.report=false",
)


class Square:
    """A data set with every picture cut to its upper left square."""

    def __init__(self, pictures: VOCDataset) -> None:
        self.pictures = pictures
        self.ids, self.sizes = pictures.ids, [(96, 96)] * len(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        sample = self.pictures[index]
        return replace(sample, image=np.ascontiguousarray(sample.image[:96, :96]))

    def reduced(self, index: int, at_least: tuple[int, int]):  # type: ignore[no-untyped-def]
        return self[index]


def learn(world: World, config_file: Path, folder: Path, pieces: int) -> None:
    """Twenty steps in double precision; the parameters and their average go to a file of each
    process. Several forget their activations: that must not matter either."""
    config = load_config(config_file, [*ONE_SIZE, f"train.accumulate={pieces}"])
    train_set = VOCDataset(config.data.root, "train")
    loader = build_train_loader(config, Square(train_set), rank=world.rank, processes=world.size)
    folder.mkdir(exist_ok=True)
    train_double(config, train_set, loader, folder, Manner(35.0, pieces, world), steps=STEPS)


def train_double(
    config: Config,
    train_set: VOCDataset,
    batches: Iterable[Batch],
    folder: Path,
    manner: Manner,
    *,
    steps: int,
) -> None:
    """Train a detector of double precision, several processes by activation checkpointing; its
    parameters and their average go to folder/weights.pt."""
    torch.manual_seed(0)
    model = build_detector(config.model, train_set.class_names).double()
    if manner.world.size > 1:
        recompute_blocks(model)
    average = WeightAverage(model, 0.9)
    with RunLog(folder, iterations=steps, tensorboard=False, console=False) as log:
        train(
            model,
            batches,
            optimizer=build_optimizer(config.train, model),
            schedule=Schedule(0.02, steps),
            log=log,
            milestones=Milestones(lambda step: None, steps),
            manner=replace(manner, average=average),
        )
    averages = average.state_dict()["weights"]
    assert not torch.equal(averages["roi_head.reduce.weight"], model.roi_head.reduce.weight)
    torch.save({"model": model.state_dict(), "average": averages}, folder / "weights.pt")


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


def learn_from_half(world: World, config_file: Path, folder: Path) -> None:
    """Five steps of which every second picture, all of those of one process, shows nothing."""
    pieces = 2 // world.size
    config = load_config(
        config_file, ["data.train_short_sides=[112]", f"train.accumulate={pieces}"]
    )
    train_set = VOCDataset(config.data.root, "train")
    loader = build_train_loader(config, Square(train_set), rank=world.rank, processes=world.size)

    def batches() -> Iterator[Batch]:
        for number, (batch, targets) in enumerate(loader):
            empty = number % 2 == 1 if world.size == 1 else world.rank == 1
            yield batch, [without_objects(one) if empty else one for one in targets]

    folder.mkdir(exist_ok=True)
    train_double(config, train_set, batches(), folder, Manner(35.0, pieces, world), steps=5)


def without_objects(target: Target) -> Target:
    return replace(
        target, boxes=target.boxes[:0], labels=target.labels[:0], difficult=target.difficult[:0]
    )


def stop_in_an_evaluation(config_file: Path, output: Path) -> None:
    """A run whose process of rank 1, and only that, is asked to stop while it evaluates."""
    first = int(os.environ["RANK"]) == 0
    assess_all = experiment.assess

    def asked(*arguments: Any, **options: Any) -> Any:
        if not first:
            os.kill(os.getpid(), signal.SIGTERM)
        return assess_all(*arguments, **options)

    experiment.assess = asked
    with contextlib.redirect_stdout(io.StringIO()) as said:
        ended = experiment.run_experiment(load_config(config_file, FEW_STEPS), output)
    torch.save((ended, said.getvalue()), output / f"ended{int(not first)}.pt")


def everything(ports: Sequence[int], config_file: Path, weights: Path, folder: Path) -> None:
    """All jobs, for starting two processes is the slow part."""
    with at(ports[0]) as world:
        learn(world, config_file, folder / f"learned{world.rank}", 1)
        learn_from_half(world, config_file, folder / f"half{world.rank}")
        measure(world, weights, folder)
    os.environ["MASTER_PORT"] = str(ports[1])
    stop_in_an_evaluation(config_file, folder / "stopped")


@pytest.fixture(scope="module")
def two(trained_run, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("two")
    ports = [free_port(), free_port()]
    apart(2, everything, ports, trained_run.config, trained_run.weights, folder)
    return folder


def test_two_processes_and_two_pieces_learn_what_one_learns(  # D8
    trained_run, two: Path, tmp_path: Path
) -> None:
    lone(learn, trained_run.config, tmp_path / "whole", 1)
    lone(learn, trained_run.config, tmp_path / "pieces", 2)
    whole = torch.load(tmp_path / "whole/weights.pt")
    for other in (tmp_path / "pieces", two / "learned0", two / "learned1"):
        state = torch.load(other / "weights.pt")
        torch.testing.assert_close(state, whole, rtol=0, atol=1e-8)
    averages = [torch.load(two / f"learned{rank}/weights.pt")["average"] for rank in (0, 1)]
    torch.testing.assert_close(*averages, rtol=0, atol=0)


def test_a_process_with_nothing_to_find_learns_with_the_other(  # D1 D11
    trained_run, two: Path, tmp_path: Path
) -> None:
    lone(learn_from_half, trained_run.config, tmp_path)
    alone = torch.load(tmp_path / "weights.pt")
    for rank in (0, 1):
        state = torch.load(two / f"half{rank}" / "weights.pt")
        torch.testing.assert_close(state, alone, rtol=0, atol=1e-8)


def test_a_signal_to_one_process_ends_the_evaluation_of_all_and_one_goes_on(  # D6 D12 W19
    trained_run, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for rank in (0, 1):
        ended, words = torch.load(two / f"stopped/ended{rank}.pt")
        assert ended == signal.SIGTERM
        said.append(words)
    assert "stopped while evaluating, nothing is lost: give the same command with --resu" in said[0]
    assert said[1] == "", "one process speaks"

    output = shutil.copytree(two / "stopped", tmp_path / "run")
    config = load_config(trained_run.config, FEW_STEPS)
    assert experiment.run_experiment(config, output, resume=True) is not None
    text = capsys.readouterr().out
    assert "note: processes: 2 -> 1. The steps stay the same" in text
    assert "going on after step 2" in text
    steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [one["step"] for one in steps if "train/loss" in one] == [1, 2, 3, 4]
    assert [one["step"] for one in steps if "val/mAP@0.5" in one] == [2, 4]


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
    """Twelve steps, written down as six of twice as many pictures."""
    return torchrun(
        *("train", "-c", str(config), "-o", str(output), "--set", "train.iterations=6"),
        *("train.schedule_batch_size=4", "train.ema_decay=0.9", "train.precision=bfloat16"),
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
    assert said.count("schedule scaled from 4 to 2 pictures a step: lr 0.02 -> 0.01") == 1

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
