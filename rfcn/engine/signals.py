"""Ctrl-C and SIGTERM as a polite request: finish the step, save, leave. Twice: leave at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818 - no error
    """Long work, such as an evaluation, was left because of a `StopRequest`."""


class StopRequest:
    """Whether somebody asked the process to stop, and how. It is the signal handler itself."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first signal that came, or None."""
        self._pid = os.getpid()
        self._replaced: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """To be called now and then in long work: raises `Stopped` once somebody asked."""
        if self:
            raise Stopped

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0, or 128 + the signal (130 for Ctrl-C, 143 for SIGTERM)."""
        return 0 if self.signal is None else 128 + self.signal

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; end the process at the second.

        Raises:
            SystemExit: at the second signal, so that files and workers are still closed.
        """
        if os.getpid() != self._pid:  # a data worker forked from here: its parent decides
            return
        if self.signal is not None:
            self.release()
            raise SystemExit(128 + number)
        self.signal = signal.Signals(number)
        # A signal to the whole group also ends the data workers, and PyTorch would raise an error
        # about that in the middle of our last step.
        self._replace(signal.SIGCHLD, signal.SIG_DFL)
        # os.write: a handler may interrupt a print, and buffered streams cannot be re-entered.
        text = f"\n{self.signal.name}: stopping after this step; once more to stop at once\n"
        os.write(2, text.encode())

    def heed(self) -> None:
        """Become the handler of the signals."""
        for number in HEEDED:
            self._replace(number, self)

    def release(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()

    def _replace(self, number: signal.Signals, handler: Any) -> None:
        self._replaced[number] = signal.signal(number, handler)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within this block SIGINT, SIGTERM and SIGUSR1 set the yielded request.

    A block inside another shares its request, so a command can see what stopped its training.
    Outside the main thread signals cannot be caught; the request then stays unset.
    """
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, StopRequest):
        yield outer
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.heed()
    try:
        yield request
    finally:
        request.release()
