"""Several processes that train one detector, started by `torchrun`; or the one that is alone.

The loop, the run and the evaluation speak to a `World`. Alone, its methods give back what they are
given, so that there is one code for both.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rfcn.errors import ConfigError, MachineError

_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""

_BROKEN = ("Connection closed", "Connection reset", "imed out", "imeout", "NCCL", "Gloo", "gloo")
"""Words of the errors with which torch says that a process cannot be reached any more."""


class World:
    """A process that is alone."""

    rank = 0
    """Number of this process, from 0; the one of rank 0 writes files and speaks."""
    size = 1
    """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over all processes."""
        return module

    def alone(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside, the gradients of a wrapped module add up here and are not averaged yet."""
        return nullcontext()

    def check_gradients(self, module: nn.Module) -> None:
        """Raises RuntimeError, a fault of the model, where a parameter got none in this step."""

    def most(self, number: int) -> int:
        """The largest of the numbers of all processes; all wait for each other here."""
        return number

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in each of them."""
        return values

    def gather(self, found: Any) -> list[Any]:
        """What each process has, by rank: in the one that leads; elsewhere nothing."""
        return [found]

    def share(self, value: Any) -> Any:
        """What the process that leads has, in every one."""
        return value

    def check_same(self, text: str, what: str) -> None:
        """Raises ConfigError where the text of another process is not this one."""


class TorchWorld(World):
    """One of several processes, joined by torch.distributed.

    Small agreements go over a group of the CPU's own (gloo), so that they never wait for a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._device = device
        self._words: Any = None  # the group of all
        if device.type == "cuda":
            self._words = dist.new_group(backend="gloo")

    def wrap(self, module: nn.Module) -> nn.Module:
        """See `World`. Every parameter must get a gradient in every step, as they do here."""
        devices = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    def alone(self, module: nn.Module) -> AbstractContextManager[None]:
        """See `World`."""
        assert isinstance(module, DistributedDataParallel)
        return module.no_sync()

    def check_gradients(self, module: nn.Module) -> None:
        """See `World`. Torch itself would let the other processes wait for it in vain."""
        without = [
            name.removeprefix("module.")
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        ]
        if without:
            raise RuntimeError(
                f"in process {self.rank}, {len(without)} parameters got no gradient in this step, "
                f"the first {', '.join(without[:5])}: a model that several processes train uses "
                "all of them in every step, if only times 0"
            )

    def most(self, number: int) -> int:
        """See `World`."""
        numbers = torch.tensor([number])
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._words)
        return int(numbers.item())

    def total(self, values: Tensor) -> Tensor:
        """See `World`."""
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, found: Any) -> list[Any]:
        """See `World`."""
        places = [None] * self.size if self.leads else None
        dist.gather_object(found, places, group=self._words)
        return places or []

    def share(self, value: Any) -> Any:
        """See `World`."""
        box = [value]
        dist.broadcast_object_list(box, group=self._words)
        return box[0]

    def check_same(self, text: str, what: str) -> None:
        """See `World`."""
        mine = hashlib.sha256(text.encode()).hexdigest()
        digests: list[Any] = [None] * self.size
        dist.all_gather_object(digests, mine, group=self._words)
        others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise ConfigError(
                f"{what} of process {others[0]} is not that of process 0. All processes of a run "
                "need the same command and the same files."
            )


def check_parts(batch_size: int, pieces: int, world: World) -> None:
    """Raises ConfigError where a step has fewer pictures than parts are to be made of it."""
    parts = pieces * world.size
    if batch_size < parts:
        raise ConfigError(
            f"train.batch_size is {batch_size}, and each step is shared by {world.size} processes "
            f"in {pieces} pieces each: at least {parts} pictures are needed. Raise it (it counts "
            "the pictures of all), or lower train.accumulate."
        )


def launched() -> bool:
    """Whether `torchrun` started this process.

    Raises:
        ConfigError: some of what it tells is there and the rest is not.
    """
    there = [name for name in _LAUNCHED if name in os.environ]
    if there and len(there) < len(_LAUNCHED) and "WORLD_SIZE" in there:
        missing = [name for name in _LAUNCHED if name not in there]
        raise ConfigError(
            f"WORLD_SIZE is set and {', '.join(missing)} is not: several processes are started by "
            "torchrun --nproc-per-node N -m rfcn.cli.main train ... . Unset WORLD_SIZE to run one."
        )
    return len(there) == len(_LAUNCHED)


def first_process() -> bool:
    """Whether this process speaks, be it alone or the first of several."""
    return not launched() or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Whether `torchrun` started this process again, after one of the group had died."""
    return _attempt() > 0


def _attempt() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process among those of its machine; the CPU stays what it is."""
    if device.type != "cuda" or not launched():
        return device
    number = int(os.environ["LOCAL_RANK"])
    if number >= torch.cuda.device_count():
        raise MachineError(
            f"process {number} of this machine has no GPU: torch can use "
            f"{torch.cuda.device_count()}. Start at most so many with --nproc-per-node, or give "
            "--device cpu."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def join_world(device: torch.device, *, timeout: float) -> Iterator[World]:
    """The world of this process: several where `torchrun` started it, else it alone.

    Args:
        device: of this process (`own_device`). timeout: seconds to wait for the others.

    Raises:
        MachineError: the others cannot be reached.
        SystemExit: the same, in a process that leaves it to two others to say so.
    """
    if not launched():
        yield World()
        return
    backend, limit = "nccl" if device.type == "cuda" else "gloo", timedelta(seconds=timeout)
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=limit))
        # torchrun may keep its store through restarts, with the addresses of processes now dead.
        fresh = dist.PrefixStore(f"attempt {_attempt()}", store)
        dist.init_process_group(backend, store=fresh, rank=rank, world_size=size, timeout=limit)
    except (RuntimeError, ValueError) as error:  # DistError is a RuntimeError
        raise MachineError(
            f"process {os.environ['RANK']} cannot reach the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
            f"({str(error).splitlines()[0]}). Is the port in use, or a machine down?"
        ) from error
    try:
        yield TorchWorld(device)
    except RuntimeError as error:
        if not any(word in str(error) for word in _BROKEN):
            raise
        reason = str(error).splitlines()[0][:200]
        raise _left_behind(dist.get_rank(), dist.get_world_size(), timeout, reason) from error
    finally:
        dist.destroy_process_group()


def _left_behind(rank: int, size: int, timeout: float, reason: str) -> BaseException:
    """The end of a process whose others cannot be reached any more. Hundreds may meet it at once:
    the first two speak, for one of them may be the one that is missed."""
    if rank > 1:
        return SystemExit(MachineError.exit_code)
    return MachineError(
        f"process {rank} of {size} waits for the others in vain: one has died, or stood still for "
        f"{timeout:g} seconds (runtime.timeout). Look above for what it said last ({reason})."
    )
