"""One run at a time in a folder."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rfcn.errors import ConfigError

_held: set[TextIO] = set()
"""The open lock files of this process."""


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. The system frees it however the process ends, so no stale
    lock can remain.

    Raises:
        ConfigError: another process holds it.
    """
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"{folder} is in use by another run (process {file.read().strip() or 'unknown'}). "
                "Wait for it, stop it, or choose another --output."
            ) from None
        except OSError as error:
            print(
                f"warning: {folder} lies on a file system without locks ({error.strerror}): take "
                "care that no second run writes there.",
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def _let_go() -> None:
    """A lock lasts as long as any process has its file open, and data workers, forked from here,
    outlive by seconds a run that is killed: its successor would find the folder in use."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
