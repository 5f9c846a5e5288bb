"""The loop where a step is made of pieces, or of several processes: the same steps."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from rfcn.engine.logging import RunLog
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.structures import ImageBatch
from tests.engine.conftest import toy_batch
from tests.in_processes import in_processes, lone

SILENT = {"tensorboard": False, "console": False}


class Regression(torch.nn.Module):
    """A loss a picture, averaged over the batch, as detectors' are; twice precise."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = torch.nn.Linear(3, 2, dtype=torch.float64)

    def forward(self, batch, targets):
        seen = self.layer(batch.tensor.double().mean((2, 3)) / 255)
        wanted = torch.stack([target.boxes.mean().double() / 100 for target in targets])
        error = (seen - wanted[:, None]).square().mean(0)
        return {"loss_cls": error[0], "loss_box": error[1]}


class Pieces:
    """Steps of four pictures, the third of three, cut into pieces; one process's share of them."""

    def __init__(self, pieces=1, rank=0, size=1):
        self.pieces, self.rank, self.size = pieces, rank, size

    def __iter__(self):
        for step in range(1, 9):
            pictures = list(range(3 if step == 3 else 4))
            cut = [part.tolist() for part in np.array_split(pictures, self.pieces * self.size)]
            for part in cut[self.rank * self.pieces :][: self.pieces]:
                yield self.batch(step, part or [0], len(part) / len(pictures))

    def batch(self, step, numbers, share):
        pairs = [toy_batch(100 * step + number) for number in numbers]
        tensor = torch.cat([batch.tensor[:1] for batch, _ in pairs])
        sizes = [(8, 8)] * len(numbers)
        ids = [str(number) for number in numbers]
        return (
            ImageBatch(tensor, sizes, sizes, ids, share=share),
            [targets[0] for _, targets in pairs],
        )


def regress(world, folder, pieces):
    """Eight steps; the parameters, and the losses of the log, in a file of each process."""
    model = Regression()
    optimizer = build_sgd(model, lr=1.0, momentum=0.9, weight_decay=1e-4)
    with RunLog(folder / str(world.rank), iterations=8, every=1, **SILENT) as log:
        train(
            model,
            Pieces(pieces, world.rank, world.size),
            optimizer=optimizer,
            schedule=Schedule(0.1, 8),
            log=log,
            milestones=Milestones(lambda step: None, 8),
            manner=Manner(0.5, pieces, world),
        )
    written = (folder / str(world.rank) / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["last"] for line in written]
    torch.save((model.state_dict(), losses), folder / f"{world.rank}.pt")


def stop_one(world, folder):
    """The process of rank 1 is asked to stop at its third step; all leave after it."""
    model = Regression()
    saved = []

    def ask(batches):
        for step, batch in enumerate(batches, start=1):
            if world.rank == 1 and step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with RunLog(folder / str(world.rank), iterations=8, **SILENT) as log:
        sent = train(
            model,
            ask(Pieces(1, world.rank, world.size)),
            optimizer=build_sgd(model, lr=1.0, momentum=0.9, weight_decay=0.0),
            schedule=Schedule(0.1, 8),
            log=log,
            milestones=Milestones(saved.append, 8),
            manner=Manner(world=world),
        )
    torch.save((int(sent), saved), folder / f"{world.rank}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two real processes did, both jobs in one go: starting them is the slow part."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("one_piece", "two_pieces", "stopped"):
        (folder / name).mkdir()
        for rank in (0, 1):
            (folder / name / str(rank)).mkdir()
    in_processes(2, all_jobs, folder)
    return folder


def all_jobs(world, folder):
    regress(world, folder / "one_piece", 1)
    regress(world, folder / "two_pieces", 2)
    stop_one(world, folder / "stopped")


@pytest.fixture
def whole(tmp_path):
    """Parameters and losses of one process that takes every step at once."""
    (tmp_path / "whole" / "0").mkdir(parents=True)
    lone(regress, tmp_path / "whole", 1)
    return torch.load(tmp_path / "whole/0.pt")


def assert_same_run(path, whole):
    (state, losses), (whole_state, whole_losses) = torch.load(path), whole
    for name, value in whole_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
    for before, now in zip(whole_losses, losses, strict=True):
        assert now == pytest.approx(before, rel=1e-6)
    assert not torch.allclose(state["layer.weight"], Regression().layer.weight)


@pytest.mark.parametrize("pieces", [2, 4])
def test_pieces_make_the_steps_of_one_batch(pieces, tmp_path, whole):
    (tmp_path / "cut" / "0").mkdir(parents=True)
    lone(regress, tmp_path / "cut", pieces)
    assert_same_run(tmp_path / "cut/0.pt", whole)


@pytest.mark.parametrize("name", ["one_piece", "two_pieces"])
def test_the_log_counts_the_pictures_of_all(name, two):
    written = (two / name / "0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in written] == [4, 8, 11, 15, 19, 23, 27, 31]


@pytest.mark.parametrize("name", ["one_piece", "two_pieces"])
def test_processes_make_the_steps_of_one(name, two, whole):  # D8
    for rank in (0, 1):
        assert_same_run(two / name / f"{rank}.pt", whole)


def test_a_signal_to_one_process_stops_all_at_the_same_step(two):  # D6
    for rank in (0, 1):
        assert torch.load(two / f"stopped/{rank}.pt") == (signal.SIGTERM, [3])
