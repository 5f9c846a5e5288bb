"""Videos and cameras, frame by frame, and frames back to a video."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rfcn.errors import DataError, MachineError
from rfcn.inference.sources import Camera

UNKNOWN_RATE = 25.0
"""Frames a second of a film that does not say."""
_KINDS = ((".mp4", "mp4v"), (".avi", "MJPG"))
"""Containers and codecs tried in turn; motion JPEG every OpenCV writes."""
_MISSING = 0.02
"""Share of the frames that a header may promise too many: some only estimate them."""


class Film:
    """A video file or a camera, opened.

    Raises:
        DataError: it cannot be opened. The first frame may still be missing.
    """

    def __init__(self, source: Path | Camera) -> None:
        self.source = source
        self._capture = _open(source)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else UNKNOWN_RATE
        """Frames a second."""
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = None if isinstance(source, Camera) or promised < 1 else int(promised)
        """Frames that the header speaks of; None where it says nothing."""

    def frames(self, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """(number from 0, uint8 RGB [H, W, 3]) of each, or of one in `every`.

        Raises:
            DataError: at the end, where there was no frame, or fewer than were promised.
        """
        count = 0
        while self._capture.grab():
            if count % every == 0:
                good, frame = self._capture.retrieve()
                if not good:
                    break
                yield count, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            count += 1
        if not count:
            raise DataError(
                f"{self.source}: not one frame could be read. Copy the video anew from its source, "
                "or convert it: ffmpeg -i OLD NEW.mp4"
            )
        if self.promised and count < self.promised - max(1, round(_MISSING * self.promised)):
            raise DataError(
                f"{self.source}: the video breaks off: {count} of {self.promised} frames could be "
                "read, and were. Copy it anew from its source."
            )

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()


def _open(source: Path | Camera) -> Any:
    # every fault is told in our own words; a setting of the user's wins
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    capture = cv2.VideoCapture(source.number if isinstance(source, Camera) else str(source))
    if capture.isOpened():
        return capture
    if isinstance(source, Camera):
        raise DataError(
            f"{source}: there is none of this number, or another program has it. Cameras are "
            "numbered from 0 (/dev/video0)."
        )
    if not source.is_file():
        raise DataError(f"{source}: there is no such video. Restore it, or leave it out.")
    if not source.stat().st_size:
        raise DataError(f"{source}: the file is empty. Copy the video anew from its source.")
    raise DataError(
        f"{source}: no video that OpenCV can open; it is damaged, or of an unknown kind. Copy it "
        "anew from its source, or convert it: ffmpeg -i OLD NEW.mp4"
    )


class FilmWriter:
    """A video of frames of one size: MPEG-4 in .mp4, else motion JPEG in .avi.

    Args:
        path: its suffix is replaced by that of the container. size: (height, width) in pixels.

    Raises:
        MachineError: this OpenCV writes neither.
    """

    def __init__(self, path: Path, *, rate: float, size: tuple[int, int]) -> None:
        self.size = size
        for suffix, codec in _KINDS:
            self.path = path.with_name(path.name + suffix)
            code = cv2.VideoWriter.fourcc(*codec)
            self._writer = cv2.VideoWriter(str(self.path), code, rate, (size[1], size[0]))
            if self._writer.isOpened():
                return
            self.path.unlink(missing_ok=True)
        raise MachineError(
            f"{path}: this OpenCV writes no video ({', '.join(codec for _, codec in _KINDS)}). "
            "Install opencv-python-headless with pip, or choose --save annotated."
        )

    def write(self, image: np.ndarray) -> None:
        """Append a frame, uint8 RGB [H, W, 3]; one of another size is stretched to the first's."""
        if image.shape[:2] != self.size:
            image = cv2.resize(image, (self.size[1], self.size[0]))
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Complete the file, without which nobody can play it."""
        self._writer.release()
