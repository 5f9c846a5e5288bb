"""Functions in several real processes that know each other, as torchrun would start them."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.multiprocessing as mp

from rfcn.engine.distributed import World, join_world


def free_port() -> int:
    """One that nobody listens to at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_processes(count: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(world, *arguments)` in each; raises what one of them raises."""
    apart(count, _together, free_port(), function, arguments)


def apart(count: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(*arguments)` in each, which has still to join the others (`at`); raises what
    one of them raises."""
    mp.spawn(_enter, (count, function, arguments), nprocs=count)


@contextmanager
def at(port: int, timeout: float = 60) -> Iterator[World]:
    """Meet the others at a port; one after another, processes meet at several."""
    os.environ["MASTER_PORT"] = str(port)
    with join_world(torch.device("cpu"), timeout=timeout) as world:
        yield world


def _together(port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with at(port) as world:
        function(world, *arguments)


def _enter(rank: int, count: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
    }
    function(*arguments)


def lone(function: Callable[..., Any], *arguments: Any) -> None:
    """The same call in this process, which is alone."""
    function(World(), *arguments)
