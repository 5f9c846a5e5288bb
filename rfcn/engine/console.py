"""The terminal: a progress bar where somebody watches, plain lines everywhere else."""

import os
import sys
from contextlib import suppress
from typing import Any


class Console:
    """Speaks to stdout; a reader that went away (closed pipe) ends the talk, not the run."""

    def __init__(self, total: int | None, done: int = 0, *, unit: str = "step") -> None:
        """Show `done` of `total` steps, or of an unknown number of them."""
        self._open = sys.stdout is not None
        self._bar: Any = None
        if self._open and sys.stdout.isatty() and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True)

    def advance(self, step: int) -> None:
        """Move the bar to `step`."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def progress(self, line: str, short: str) -> None:
        """News of the training: `short` beside the bar, or `line` where there is no bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(short, refresh=False)
        else:
            self.say(line)

    def say(self, line: str) -> None:
        """One line, above the bar if there is one."""
        if not self._open:
            return
        try:
            if self._bar is not None:
                self._bar.write(line)
            else:
                print(_printable(line), flush=True)
        except (OSError, ValueError):
            self._hang_up()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _hang_up(self) -> None:
        """Nobody reads any more; what is still buffered must not fail when the process ends."""
        self._open = False
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(line: str) -> str:
    """The line in characters the terminal's encoding has."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)
