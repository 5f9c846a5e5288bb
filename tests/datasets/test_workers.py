"""The processes that load pictures: enough room for them, and what is told of their end."""

import itertools
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from rfcn.datasets import workers as module
from rfcn.datasets.sample import Sample
from rfcn.datasets.skipped import SkippedPictures
from rfcn.datasets.workers import Desk, Watched, affordable_workers, explain_death
from rfcn.datasets.workers import share_within_limits as share
from rfcn.errors import MachineError
from tests.datasets.test_loader import MIXED, Blank, _digests, _train

MB = 1_000_000


@pytest.fixture
def said():
    return []


@pytest.fixture
def shared_memory(monkeypatch):
    """Makes the machine's shared memory so large."""

    def make(free):
        room = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)
        monkeypatch.setattr(module.os, "statvfs", lambda path: room)

    return make


# T11
@pytest.mark.parametrize(
    ("free", "wanted", "workers"),
    [(64, 8, 5), (64, 5, 5), (64, 0, 0), (6, 8, 1), (6000, 8, 8)],
)
def test_t11_workers_are_lowered_to_what_shared_memory_holds(
    shared_memory, said, free, wanted, workers
):
    shared_memory(free * MB)
    assert affordable_workers(wanted, 5 * MB, said.append) == workers
    assert len(said) == (workers < wanted)
    if said:
        assert f"{workers} processes load pictures instead of {wanted}" in said[0]
        assert "--shm-size" in said[0]
        assert ("data.workers=0" in said[0]) == (free == 6)


def test_t11_processes_beside_this_one_share_the_memory(shared_memory, said, monkeypatch):
    shared_memory(64 * MB)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert affordable_workers(8, 5 * MB, said.append) == 2


def test_a_system_without_shared_memory_files_is_left_alone(said, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "none")
    assert affordable_workers(8, 5 * MB, said.append) == 8


@pytest.fixture
def _strategy_put_back():
    before = torch.multiprocessing.get_sharing_strategy()
    yield
    torch.multiprocessing.set_sharing_strategy(before)


# S8
@pytest.mark.usefixtures("_strategy_put_back")
@pytest.mark.parametrize(
    ("limit", "workers", "strategy"),
    [
        (256, 4, "file_system"),
        (4096, 4, "file_descriptor"),
        (256, 0, "file_descriptor"),
        (resource.RLIM_INFINITY, 4, "file_descriptor"),
    ],
)
def test_s8_few_open_files_let_tensors_travel_by_name(said, monkeypatch, limit, workers, strategy):
    torch.multiprocessing.set_sharing_strategy("file_descriptor")
    monkeypatch.setattr(module.resource, "getrlimit", lambda which: (limit, limit))
    for _ in range(2):
        share(workers, 33, said.append)
    assert torch.multiprocessing.get_sharing_strategy() == strategy
    assert len(said) == (strategy == "file_system")
    if said:
        assert "256 files at once" in said[0]
        assert "ulimit -n" in said[0]


def worker(monkeypatch, number):
    monkeypatch.setattr(module, "get_worker_info", lambda: SimpleNamespace(id=number))


def test_a_desk_tells_what_a_process_was_busy_with(monkeypatch):
    desk = Desk(2)
    desk.note(5)
    assert desk.busy_with(os.getpid()) is None, "the main process is no worker"
    worker(monkeypatch, 1)
    desk.note(7)
    assert desk.busy_with(os.getpid()) == (1, 7)


# T10
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (RuntimeError("DataLoader worker (pid {}) is killed by signal: Killed. "), "dmesg"),
        (RuntimeError("DataLoader worker (pid(s) 12, {}) exited unexpectedly"), "main process"),
        (
            RuntimeError("DataLoader worker (pid {}) is killed by signal: Bus error. It is ..."),
            "--shm-size",
        ),
    ],
)
def test_t10_a_death_names_worker_picture_and_remedy(monkeypatch, fault, words):
    desk = Desk(1)
    worker(monkeypatch, 0)
    desk.note(1)
    fault.args = (str(fault).format(os.getpid()),)
    told = str(explain_death(fault, desk, ["a", "b"]))
    assert f"It was number 0 (process {os.getpid()}), busy with b." in told
    assert words in told


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(24, "Too many open files"), "ulimit -n"),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write"), "/dev/shm"),
        (MemoryError(), "out of memory"),
    ],
)
def test_t10_what_the_way_between_processes_lacks_is_told(fault, words):
    assert words in str(explain_death(fault, Desk(1), ["a"]))


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback"),
        OSError(2, "No such file or directory"),
    ],
)
def test_a_bug_is_no_death(fault):
    assert explain_death(fault, Desk(1), ["a"]) is None


def test_t10_an_error_names_its_picture(monkeypatch):
    class Samples:
        def __getitem__(self, ticket):
            raise KeyError(ticket)

    watched = Watched(Samples(), Desk(1), int, ["a", "b"])
    with pytest.raises(KeyError) as error:
        watched[1]
    assert error.value.__notes__ == ["while the picture b was made ready"]
    worker(monkeypatch, 0)
    with pytest.raises(KeyError) as error:
        watched[0]
    assert error.value.__notes__ == ["while the picture a was made ready, in loading process 0"]


# ------------------------------------------------------------------------------ real processes


class Deadly(Blank):
    """Reading its picture number 3 kills the process, as the kernel does when memory runs out."""

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Buggy(Blank):
    """Its picture number 3 meets a bug."""

    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index if 1 / (index - 3) else 0)


class Signalled(Blank):
    """Its process gets the signals that a whole group gets."""

    def __getitem__(self, index: int) -> Sample:
        for sent in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), sent)
        return super().__getitem__(index)


# T10
def test_t10_a_killed_worker_is_a_fault_that_names_it_and_its_picture_not_a_hang() -> None:
    with pytest.raises(MachineError, match=r"It was number 0 .*busy with p3.*data\.workers"):
        list(itertools.islice(_train(Deadly(MIXED), workers=1), 4))


# T10
def test_t10_an_error_in_a_worker_keeps_its_traceback_and_names_its_picture() -> None:
    words = r"(?s)in DataLoader worker process 0.*ZeroDivisionError.*picture p3 .*process 0"
    with pytest.raises(ZeroDivisionError, match=words):
        list(itertools.islice(_train(Buggy(MIXED), workers=1), 4))


# S8
def test_s8_batches_that_travel_by_name_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = torch.multiprocessing.get_sharing_strategy(), []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    skipped = SkippedPictures(tell=told.append)
    try:
        found = _digests(4, Blank(MIXED), workers=1, skipped=skipped)
    finally:
        torch.multiprocessing.set_sharing_strategy(before)
    assert found == _digests(4, Blank(MIXED))
    assert "file_system" in told[0]


# T11
def test_t11_a_small_shared_memory_costs_workers_not_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    room = os.statvfs_result((4096, 4096, 10, 10, 10, 0, 0, 0, 0, 255))  # ten pages
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    skipped = SkippedPictures(tell=told.append)
    assert _digests(4, Blank(MIXED), workers=4, skipped=skipped) == _digests(4, Blank(MIXED))
    assert "instead of 4 (data.workers)" in told[0]


def test_t9_workers_leave_signals_to_the_main_process() -> None:
    assert _digests(4, Signalled(MIXED), workers=1) == _digests(4, Blank(MIXED))


# T10
def test_t10_a_worker_that_was_not_told_does_not_hold_the_end_of_the_process():
    command = """
import multiprocessing, signal, time
import rfcn.datasets.workers

def work(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.set()
    time.sleep(600)

ready = multiprocessing.Event()
child = multiprocessing.Process(target=work, args=(ready,), daemon=True)
child.start()
ready.wait()
"""
    ended = subprocess.run([sys.executable, "-c", command], timeout=120, check=False)
    assert ended.returncode == 0
