import errno
import fcntl
import os

import pytest

from rfcn.engine.lock import only_run_in
from rfcn.errors import ConfigError


def test_w15_a_second_run_is_refused_and_told_by_whom(tmp_path):  # W15
    with (
        only_run_in(tmp_path),
        pytest.raises(ConfigError, match=f"process {os.getpid()}"),
        only_run_in(tmp_path),
    ):
        pass


def test_w15_the_folder_is_free_again_and_a_stale_file_does_not_matter(tmp_path):
    (tmp_path / ".lock").write_text("999999\n")
    for _ in range(2):
        with only_run_in(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_w15_data_workers_that_outlive_a_killed_run_do_not_hold_its_folder(tmp_path):
    ready, done = os.pipe(), os.pipe()
    run = os.fork()
    if run == 0:
        with only_run_in(tmp_path):
            worker = os.fork()
            if worker == 0:
                os.write(ready[1], b"x")
                os.read(done[0], 1)
            os._exit(0)
    os.waitpid(run, 0)
    os.read(ready[0], 1)  # the worker lives
    with only_run_in(tmp_path):
        pass
    os.write(done[1], b"x")
    for descriptor in (*ready, *done):
        os.close(descriptor)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with only_run_in(tmp_path):
        pass
    assert "a file system without locks (No locks available)" in capsys.readouterr().err
