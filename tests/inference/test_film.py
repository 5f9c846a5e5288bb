"""Videos, frame by frame and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rfcn.errors import DataError, MachineError
from rfcn.inference.film import UNKNOWN_RATE, Film, FilmWriter
from rfcn.inference.sources import Camera


def test_every_frame_in_rgb(clip) -> None:
    film = Film(clip(6))
    assert (film.rate, film.promised) == (5.0, 6)
    frames = list(film.frames())
    film.close()
    assert [number for number, _ in frames] == list(range(6))
    for number, image in frames:
        assert image.shape == (48, 64, 3)
        assert image.dtype == np.uint8
        red, green, blue = image[12:36, 4 + 4 * number : 8 + 4 * number].mean(axis=(0, 1))
        assert red > 180 > 90 > max(green, blue)


def test_one_frame_in_so_many(clip) -> None:
    assert [number for number, _ in Film(clip(7)).frames(every=3)] == [0, 3, 6]


# I15
def test_i15_what_is_no_video(tmp_path: Path, clip) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: there is no such video"):
        Film(tmp_path / "gone.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match=r"empty\.mp4: the file is empty"):
        Film(tmp_path / "empty.mp4")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(DataError, match=r"noise\.mp4: no video that OpenCV can open.* ffmpeg"):
        Film(tmp_path / "noise.mp4")
    with pytest.raises(DataError, match=r"clip\.avi: no video that OpenCV"):
        Film(clip(6, keep=0.01))


# I15
def test_i15_a_torn_video_gives_the_frames_it_has(clip) -> None:
    film = Film(clip(60, keep=0.6))
    seen = []
    with pytest.raises(DataError, match=r"clip\.avi: the video breaks off: \d+ of 60 frames"):
        seen.extend(number for number, _ in film.frames())
    assert seen == list(range(len(seen)))
    assert 10 < len(seen) < 55


class FakeCapture:
    """A camera, or a file, of so many frames."""

    def __init__(self, frames: int, promised: float = -1.0, opened: bool = True) -> None:
        self.left = frames
        self.promised = promised
        self.opened = opened

    def isOpened(self) -> bool:  # noqa: N802 - its name
        return self.opened

    def get(self, what: int) -> float:
        return self.promised if what == cv2.CAP_PROP_FRAME_COUNT else 0.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((48, 64, 3), np.uint8)


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: asked.append(name) or FakeCapture(3))
    film = Film(Camera(1))
    assert asked == [1]
    assert (film.rate, film.promised) == (UNKNOWN_RATE, None)
    assert len(list(film.frames())) == 3
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: FakeCapture(0, opened=False))
    with pytest.raises(DataError, match=r"camera 1: there is none of this number"):
        Film(Camera(1))


# I15
def test_i15_no_frames_and_headers_that_estimate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: FakeCapture(0, 0))
    with pytest.raises(DataError, match="not one frame could be read"):
        list(Film(tmp_path / "a.mp4").frames())
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: FakeCapture(99, 100))
    assert len(list(Film(tmp_path / "a.mp4").frames())) == 99


def test_there_and_back(tmp_path: Path, photo: np.ndarray) -> None:
    writer = FilmWriter(tmp_path / "a.b", rate=7.0, size=(48, 64))
    for number in range(5):
        writer.write(np.full_like(photo, (40 * number, 100, 20)))
    writer.write(np.full((96, 128, 3), (200, 100, 20), np.uint8))  # of another size
    writer.close()
    assert writer.path.stem == "a.b"
    film = Film(writer.path)
    assert film.rate == pytest.approx(7.0)
    colours = [image.mean(axis=(0, 1)) for _, image in film.frames()]
    assert len(colours) == 6
    for number, colour in enumerate(colours):
        assert colour == pytest.approx((40 * number, 100, 20), abs=12)


def test_the_second_codec_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cv2.VideoWriter
    fourcc = {"mp4v": whole.fourcc(*"mp4v"), "MJPG": whole.fourcc(*"MJPG")}

    class Choosy:
        able: tuple[str, ...] = ("MJPG",)

        def __new__(cls, path: str, code: int, *rest: object) -> object:
            known = [fourcc[name] for name in cls.able]
            return whole(path, code, *rest) if code in known else whole()

        fourcc = staticmethod(whole.fourcc)

    monkeypatch.setattr(cv2, "VideoWriter", Choosy)
    writer = FilmWriter(tmp_path / "a", rate=5.0, size=(48, 64))
    assert writer.path == tmp_path / "a.avi"
    writer.close()
    Choosy.able = ()
    with pytest.raises(MachineError, match=r"writes no video \(mp4v, MJPG\)"):
        FilmWriter(tmp_path / "b", rate=5.0, size=(48, 64))
