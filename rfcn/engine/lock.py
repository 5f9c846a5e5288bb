"""One run at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfcn.errors import ConfigError


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
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
