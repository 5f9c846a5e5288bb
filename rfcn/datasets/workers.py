"""The processes that load pictures: how many the machine can feed, and what is said when one dies.

Batches travel from them through shared memory (/dev/shm), each tensor as an open file, unless the
limits of the machine ask for something else.
"""

import atexit
import multiprocessing.util
import os
import re
import resource
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import Dataset, get_worker_info

from rfcn.errors import MachineError

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2
"""Batches that each worker makes ready ahead of time (PyTorch's default)."""
SPARE = 0.9
"""The part of the free shared memory that batches may fill."""
OTHER_FILES = 128
"""Open files that a process needs for other things."""
_DIED = (
    *("killed by signal", "exited unexpectedly"),
    *("unable to open shared memory", "unable to mmap", "unable to write to file"),
    *("Too many open files", "Cannot allocate memory"),
)
"""Words of the errors with which PyTorch says that a worker, or the way to it, is gone."""


def affordable_workers(wanted: int, batch_bytes: int, say: Callable[[str], object]) -> int:
    """As many workers as the shared memory has room for, each with its batches ahead; at least one.

    Docker gives a container 64 MB unless told otherwise, and a worker that finds no room is killed
    by the kernel (SIGBUS) in the middle of a run.

    Args:
        wanted: 0 needs none. batch_bytes: the largest batch of a worker. say: is told of a change.
    """
    if wanted == 0 or not SHARED_MEMORY.is_dir():
        return wanted
    room = os.statvfs(SHARED_MEMORY)
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes on this machine
    free = room.f_bavail * room.f_frsize // beside
    most = int(SPARE * free / (PREFETCHED * batch_bytes))
    if wanted <= most:
        return wanted
    workers = max(1, most)
    say(
        f"{workers} processes load pictures instead of {wanted} (data.workers): {SHARED_MEMORY} "
        f"has {free / 1e6:,.0f} MB free, and each fills up to {PREFETCHED} batches of "
        f"{batch_bytes / 1e6:,.1f} MB there. Give the machine more shared memory (docker run "
        "--shm-size=8g, or --ipc=host)" + (", or set data.workers=0." if most < 1 else ".")
    )
    return workers


def share_within_limits(workers: int, batch_tensors: int, say: Callable[[str], object]) -> None:
    """Let tensors travel by name (`file_system`) where there are too few open files for them.

    Args:
        batch_tensors: how many a batch has. say: is told of a change.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OTHER_FILES + workers * PREFETCHED * (batch_tensors + 4)
    strategy = torch.multiprocessing.get_sharing_strategy()
    enough = limit == resource.RLIM_INFINITY or needed <= limit
    if workers == 0 or enough or strategy != "file_descriptor":
        return
    torch.multiprocessing.set_sharing_strategy("file_system")
    say(
        f"this process may open {limit} files at once, and the batches of {workers} loading "
        f"processes need about {needed}: they travel by name instead (PyTorch's file_system "
        "sharing). `ulimit -n 4096` before the start avoids it."
    )


class Desk:
    """Where each worker notes its process and the picture it is busy with, in shared memory, so
    that it can be told after it died."""

    def __init__(self, workers: int) -> None:
        self._notes = torch.full((max(1, workers), 2), -1, dtype=torch.int64)
        if workers:
            self._notes.share_memory_()

    def note(self, picture: int) -> None:
        """This process begins with a picture, by number."""
        worker = get_worker_info()
        if worker is not None:
            self._notes[worker.id] = torch.tensor([os.getpid(), picture])

    def busy_with(self, pid: int) -> tuple[int, int] | None:
        """(worker, picture) of a process; None where it never began with one."""
        for worker, (process, picture) in enumerate(self._notes.tolist()):
            if process == pid:
                return worker, picture
        return None


class Watched(Dataset):
    """Samples whose making is noted on a desk; an error names the picture and the worker.

    Args:
        samples: by ticket. number_of: the number of a ticket's picture. ids: names, by number.
    """

    def __init__(
        self,
        samples: Dataset,
        desk: Desk,
        number_of: Callable[[Any], int],
        ids: Sequence[str],
    ) -> None:
        self._samples = samples
        self._desk = desk
        self._number_of = number_of
        self._ids = ids

    def __getitem__(self, ticket: Any) -> Any:
        number = self._number_of(ticket)
        self._desk.note(number)
        try:
            return self._samples[ticket]
        except Exception as error:
            worker = get_worker_info()
            where = "" if worker is None else f", in loading process {worker.id}"
            error.add_note(f"while the picture {self._ids[number]} was made ready{where}")
            raise


def explain_death(fault: Exception, desk: Desk, ids: Sequence[str]) -> MachineError | None:
    """What to tell of an error of PyTorch's loader; None where no process has died of it.

    ids: the names of the pictures, by number.
    """
    words = str(fault)
    if not isinstance(fault, MemoryError) and not any(sign in words for sign in _DIED):
        return None
    told = ""
    for pid in map(int, re.findall(r"\d+", "".join(re.findall(r"pid(?:\(s\))? ([\d, ]+)", words)))):
        known = desk.busy_with(pid)
        if known is not None:
            told += f" It was number {known[0]} (process {pid}), busy with {ids[known[1]]}."
    return MachineError(
        f"A process that loads pictures died ({_first_line(words)}).{told} {_remedy(words)}"
    )


def _first_line(words: str) -> str:
    return words.splitlines()[0].rstrip(". ") if words else "out of memory"


def _remedy(words: str) -> str:
    if "Bus error" in words or "shared memory" in words:
        return (
            "The shared memory (/dev/shm) is full: give the machine more (docker run "
            "--shm-size=8g, or --ipc=host), or lower data.workers or train.batch_size."
        )
    if "open files" in words:
        return "Too many files are open: `ulimit -n 4096` before the start, or lower data.workers."
    return (
        "Most likely the machine ran out of memory and the kernel ended it (dmesg says so), or the "
        "picture crashes its decoder. Lower data.workers (0 loads in the main process and shows "
        "what happens) or train.batch_size, or give the machine more memory."
    )


@contextmanager
def ended_with(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """The iterator of a DataLoader, whose workers end when the block does, or the process.

    PyTorch ends them when the iterator is forgotten, and an error that passed through it holds it
    by its traceback. What is left when the process ends would be sent SIGTERM, which they do not
    heed, and be waited for, for ever.
    """
    held = weakref.ref(batches)

    def end() -> None:
        shut_down = getattr(held(), "_shutdown_workers", None)  # there are none without workers
        if shut_down is not None:
            shut_down()

    atexit.register(end)  # runs before what PyTorch registered with the iterator
    try:
        yield batches
    finally:
        end()
        atexit.unregister(end)


@atexit.register  # later than multiprocessing.util registered its own, and so run before that
def _end_what_is_left() -> None:
    """Python sends daemonic children SIGTERM when it ends, which ours do not heed, and then waits
    for them for ever."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def start_worker(strategy: str, _: int) -> None:
    """One thread a worker. Signals to the whole group (Ctrl-C, a scheduler's SIGTERM) are for the
    main process, which finishes its step, saves and then ends its workers itself.

    strategy: how tensors travel; a process that is not forked must be told.
    """
    torch.multiprocessing.set_sharing_strategy(strategy)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, signal.SIG_IGN)
