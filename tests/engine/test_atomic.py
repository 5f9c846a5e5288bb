import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rfcn.engine.atomic import remove_unfinished, write_atomically
from rfcn.errors import MachineError

KILLED = """
import os, signal, sys
from pathlib import Path
from rfcn.engine.atomic import write_atomically

def write(file):
    file.write(b"half of the new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), write)
"""


def put(path: Path, content: bytes, **options: object) -> None:
    write_atomically(path, lambda file: file.write(content), **options)


def test_a_new_and_a_replaced_file(tmp_path):
    path = tmp_path / "a"
    put(path, b"one")
    put(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


def test_w13_a_kill_while_writing_leaves_the_old_file_and_a_tidy_start(tmp_path):
    path = tmp_path / "a"
    put(path, b"old")
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert remove_unfinished(tmp_path) == [tmp_path / "a.tmp"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_fails_its_check_never_appears(tmp_path):
    path = tmp_path / "a"
    put(path, b"old")

    def check(temporary: Path) -> None:
        assert temporary.read_bytes() == b"new"
        raise KeyError("bad")

    with pytest.raises(KeyError):
        put(path, b"new", check=check)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_w14_a_full_disk_keeps_the_old_file_and_counts_the_free_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a"
    put(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match=r"the disk is full.*[\d,]+ bytes are free"):
        put(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_w14_a_full_disk_is_recognised_behind_the_error_of_torch_save(tmp_path):
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self):
            self.file.flush()

    state = {"weight": torch.zeros(1000)}
    with pytest.raises(MachineError, match="the disk is full"):
        write_atomically(tmp_path / "a", lambda file: torch.save(state, Full(file)))
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_writer_pass_through(tmp_path):
    def write(file):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write_atomically(tmp_path / "a", write)


def test_w14_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(MachineError, match="could not be written"):
        put(tmp_path / "missing" / "a", b"new")
