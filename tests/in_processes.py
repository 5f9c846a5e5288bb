"""A function in several real processes that know each other, as torchrun would start them."""

import os
import socket
from collections.abc import Callable
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
    mp.spawn(_enter, (count, free_port(), function, arguments), nprocs=count)


def _enter(
    rank: int, count: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with join_world(torch.device("cpu"), timeout=60) as world:
        function(world, *arguments)


def lone(function: Callable[..., Any], *arguments: Any) -> None:
    """The same call in this process, which is alone."""
    function(World(), *arguments)
