"""Every picture of a data set looked at once, in several processes: does it decode, what is in it?

What a worker needs is imported here and is light (no torch), so that a process costs little.
"""

import hashlib
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rfcn.datasets.jpeg import complaint
from rfcn.datasets.rules import FileRules
from rfcn.errors import DataError, MachineError

CHUNK = 16
"""Pictures a worker is given at a time: little enough to stop soon."""
_AHEAD = 4
"""Chunks in flight for each worker."""
_WORTH_A_PROCESS = 150
"""Fewer pictures are decoded before a process has started."""
_EXIF_ORIENTATION = 0x0112
_SEVERAL_FRAMES = ("GIF", "WEBP", "PNG", "TIFF")
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm"),
}
_MODES = {
    "RGBA": "alpha on white",
    "LA": "alpha on white",
    "PA": "alpha on white",
    "CMYK": "CMYK converted",
    "YCbCr": "YCbCr converted",
    "LAB": "LAB converted",
    "I": "stretched to 8 bits",
    "F": "stretched to 8 bits",
}
"""Colour modes whose conversion a reader may want to hear of; see `rfcn.datasets.image`."""


class Look(NamedTuple):
    """What one look at a picture file says."""

    fault: str | None
    """Why it cannot be read, a paragraph; then nothing else is known."""
    size: tuple[int, int] = (0, 0)
    """(height, width), upright."""
    pixels: bytes = b""
    """Hash of the decoded pixels and their shape: equal pictures, whatever their files."""
    fingerprint: int = 0
    """64 bits, of which near duplicates share nearly all: whether each of 8 x 8 cells is darker
    than its neighbour at the right (a "difference hash")."""
    small: bytes = b""
    """The picture as 16 x 16 grey bytes."""
    turned: int = 1
    """EXIF orientation, 1..8; 1 is upright."""
    damage: str | None = None
    """What a decoder murmured about a JPEG that it decoded all the same."""
    remarks: tuple[str, ...] = ()
    """How the file is unusual although it is read: several frames, colour mode, extension."""


def look_at(path: str, rules: FileRules) -> Look:
    """Decode one picture as training would, and look."""
    try:
        image = rules.read(path)
    except DataError as fault:
        return Look(str(fault))
    grey = Image.fromarray(image).convert("L")
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    darker = np.packbits(cells[:, 1:] > cells[:, :-1])
    turned, remarks = _of_the_file(Path(path))
    return Look(
        fault=None,
        size=(image.shape[0], image.shape[1]),
        pixels=hashlib.blake2b(
            image.tobytes(), digest_size=16, key=str(image.shape).encode()
        ).digest(),
        fingerprint=int.from_bytes(darker.tobytes(), "big"),
        small=grey.resize((16, 16), Image.Resampling.BOX).tobytes(),
        turned=turned,
        damage=complaint(path),
        remarks=remarks,
    )


def _of_the_file(path: Path) -> tuple[int, tuple[str, ...]]:
    """EXIF orientation, and remarks, of a picture that was read."""
    remarks = []
    with Image.open(path) as picture:
        kind = picture.format or ""
        turned = Image.Image.getexif(picture).get(_EXIF_ORIENTATION, 1)
        if kind in _SEVERAL_FRAMES and getattr(picture, "n_frames", 1) > 1:
            remarks.append(f"{picture.n_frames} frames, the first is taken")  # type: ignore[attr-defined]
        mode = (
            "16 bits scaled to 8" if picture.mode.startswith("I;16") else _MODES.get(picture.mode)
        )
    if mode:
        remarks.append(mode)
    if path.suffix.lower() not in _EXTENSIONS.get(kind, ()):
        remarks.append(f"{kind} named {path.suffix or 'without extension'}")
    valid = isinstance(turned, int) and 1 <= turned <= 8 and kind != "TIFF"
    return turned if valid else 1, tuple(remarks)


def survey(paths: Sequence[str], *, workers: int, rules: FileRules | None = None) -> Iterator[Look]:
    """A look at each picture, in order. Closing the iterator ends the workers.

    rules: how pictures are read. workers: processes; with 0, and for a few pictures, all is done
    in this one.
    Raises MachineError when a worker is killed.
    """
    look = partial(look_at, rules=rules or FileRules())
    if workers == 0 or len(paths) < _WORTH_A_PROCESS:
        yield from map(look, paths)
        return
    chunks = (paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK))
    # Spawned, not forked: a child without torch in it is smaller, and safe beside any thread.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    running: deque[Future[list[Look]]] = deque()
    try:
        # Ctrl-C goes to the whole group; workers inherit that it is blocked, we decide.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for chunk in islice(chunks, _AHEAD * workers):
                running.append(pool.submit(_all, look, list(chunk)))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        while running:
            yield from running.popleft().result()
            running.extend(pool.submit(_all, look, list(chunk)) for chunk in islice(chunks, 1))
    except BrokenProcessPool:
        raise MachineError(
            "a process that decoded pictures was killed, as the system does when memory runs out. "
            "Use fewer: --workers 1, or 0."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _all(look: Callable[[str], Look], paths: list[str]) -> list[Look]:
    return [look(path) for path in paths]
