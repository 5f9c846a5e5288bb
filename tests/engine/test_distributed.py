"""Worlds of one process and of two real ones."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from rfcn.engine.distributed import (
    World,
    check_parts,
    join_world,
    launched,
    own_device,
    restarted,
)
from rfcn.errors import ConfigError, MachineError
from tests.in_processes import free_port, in_processes

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


def test_two_agree(tmp_path: Path) -> None:  # D10
    in_processes(2, agree, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert (first["leads"], second["leads"]) == (True, False)
    assert first["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert second["gathered"] == []
    for facts in (first, second):
        assert facts["most"] == 11
        assert facts["total"] == [2.0, 1.0]
        assert facts["shared"] == "from 0"
        assert "the config of process 1 is not that of process 0" in facts["differs"]


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
