"""Worlds of one process and of two real ones."""

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from rfcn.engine import distributed
from rfcn.engine.distributed import (
    World,
    check_parts,
    join_world,
    launched,
    own_device,
    restarted,
)
from rfcn.errors import ConfigError, DataError, MachineError, RFCNError
from tests.in_processes import apart, at, free_port

TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


@pytest.fixture(autouse=True)
def _not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def test_alone_everything_is_as_it_was() -> None:
    module, values = nn.Linear(1, 1), torch.ones(2)
    with join_world(torch.device("cpu"), timeout=1) as world:
        assert type(world) is World
        assert world.leads
        assert world.wrap(module) is module
        assert world.total(values) is values
        assert (world.most(3), world.gather("a"), world.share("b")) == (3, ["a"], "b")
        world.check_same("text", "the config")
        with world.alone(module):
            pass


def agree(world: World, folder: Path) -> None:
    """What two processes tell each other, written down by each."""
    facts = {
        "leads": world.leads,
        "most": world.most(10 + world.rank),
        "total": world.total(torch.tensor([1.0, float(world.rank)])).tolist(),
        "gathered": world.gather({"rank": world.rank}),
        "shared": world.share(f"from {world.rank}"),
    }
    world.check_same("one text", "the config")
    try:
        world.check_same(f"text {world.rank}", "the config")
    except ConfigError as error:
        facts["differs"] = str(error)
    torch.save(facts, folder / f"{world.rank}.pt")


def raises(world: World, folder: Path) -> None:
    """The process of rank 1 finds a fault."""
    if world.rank == 1:
        raise DataError("a.jpg: the picture is damaged.")
    world.most(0)


def stalls(world: World, folder: Path) -> None:
    """That of rank 1 stands still until the other has given up."""
    while world.rank == 1 and not (folder / "stalls 0.pt").exists():
        time.sleep(0.05)
    world.most(0)


class Lopsided(nn.Module):
    """In the process of rank 1 it leaves a layer out."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.used, self.unused = rank, nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.used(given) if self.rank else self.used(given) + self.unused(given)


def leaves_out(world: World, folder: Path) -> None:
    """A step of such a model."""
    wrapped = world.wrap(Lopsided(world.rank))
    wrapped(torch.ones(1, 2)).sum().backward()
    world.check_gradients(wrapped)
    world.most(0)


def outcomes(folder: Path, ports: dict[str, int]) -> None:
    """What two processes tell each other; then how they end where one is missed."""
    rank = int(os.environ["RANK"])
    with at(ports["agree"]) as world:
        agree(world, folder)
    for case in (raises, stalls, leaves_out):
        name = case.__name__
        said, code = "", 0
        try:
            with at(ports[name], timeout=3 if case is stalls else 60) as world:
                case(world, folder)
        except RFCNError as error:
            said, code = str(error), error.exit_code
        except RuntimeError as error:
            said, code = str(error), 1
        torch.save((said, code), folder / f"half {rank}")
        os.replace(folder / f"half {rank}", folder / f"{name} {rank}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two real processes wrote down: starting them is the slow part."""
    folder = tmp_path_factory.mktemp("two")
    jobs = ("agree", "raises", "stalls", "leaves_out")
    apart(2, outcomes, folder, {name: free_port() for name in jobs})
    return folder


def test_two_agree(two: Path) -> None:  # D10
    first, second = (torch.load(two / f"{rank}.pt") for rank in (0, 1))
    assert (first["leads"], second["leads"]) == (True, False)
    assert first["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert second["gathered"] == []
    for facts in (first, second):
        assert facts["most"] == 11
        assert facts["total"] == [2.0, 1.0]
        assert facts["shared"] == "from 0"
        assert "the config of process 1 is not that of process 0" in facts["differs"]


def test_a_process_that_fails_says_why_and_the_other_that_it_is_missed(two: Path) -> None:  # D4
    assert torch.load(two / "raises 1.pt") == ("a.jpg: the picture is damaged.", 3)
    said, code = torch.load(two / "raises 0.pt")
    assert said.startswith("process 0 of 2 waits for the others in vain: one has died, or")
    assert code == MachineError.exit_code


def test_of_many_that_miss_one_two_speak() -> None:  # D4
    ends = [distributed._left_behind(rank, 64, 9, "Connection closed") for rank in range(64)]
    assert [isinstance(end, MachineError) for end in ends] == [True, True] + 62 * [False]
    assert {end.code for end in ends[2:]} == {MachineError.exit_code}


def test_a_process_that_stands_still_is_waited_for_so_long(two: Path) -> None:  # D5
    said, code = torch.load(two / "stalls 0.pt")
    assert "waits for the others in vain" in said
    assert "stood still for 3 seconds (runtime.timeout)" in said
    assert code == MachineError.exit_code


def test_a_parameter_without_gradient_is_named_and_not_waited_for(two: Path) -> None:  # D11
    said, code = torch.load(two / "leaves_out 1.pt")
    assert said.startswith("in process 1, 2 parameters got no gradient in this step, the first un")
    assert "unused.weight, unused.bias" in said
    assert code == 1
    assert "waits for the others in vain" in torch.load(two / "leaves_out 0.pt")[0]


def test_a_world_that_torchrun_did_not_make(monkeypatch: pytest.MonkeyPatch) -> None:  # D9
    assert not launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is set and RANK, .* torchrun"):
        launched()


def test_a_port_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:  # D9
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {**TORCHRUN, "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(MachineError, match=f"cannot reach the others at 127.0.0.1:{port}"),
            join_world(torch.device("cpu"), timeout=2),
        ):
            pass


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device(torch.device("cuda")) == torch.device("cuda")
    for name, value in {**TORCHRUN, "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(MachineError, match="has no GPU"):
        own_device(torch.device("cuda"))


def test_a_step_has_a_picture_for_every_part() -> None:
    check_parts(4, 4, World())
    with pytest.raises(ConfigError, match="1 processes in 5 pieces each: at least 5 pictures"):
        check_parts(4, 5, World())


@pytest.mark.parametrize(("count", "again"), [(None, False), ("0", False), ("2", True)])
def test_restarts(count: str | None, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if count is not None:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
    assert restarted() is again
    assert "RANK" not in os.environ
