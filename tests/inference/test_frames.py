"""Pictures and frames as one stream."""

from pathlib import Path

import numpy as np
from PIL import Image

from rfcn.inference.frames import FrameReader, Stems
from rfcn.inference.sources import Camera


def test_l8_names_are_given_once(tmp_path: Path) -> None:
    stems = Stems(tmp_path / "out", [tmp_path / "a.jpg"])
    assert [stems.take(name) for name in ("a", "a", "A", "a_2", "b.tar")] == [
        *("a", "a_2", "A_3", "a_2_2", "b.tar"),
    ]
    assert stems.take(" a\nb/c ") == "a_b_c"
    assert stems.take(" ") == "picture"


def test_l8_no_name_leads_to_an_input(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    inputs = [tmp_path / "a.png", tmp_path / "sub" / ".." / "a_2.jpg", Path("/else/b.jpg")]
    stems = Stems(tmp_path / "sub" / "..", inputs)
    assert [stems.take(name) for name in ("a", "b")] == ["a_3", "b"]


def test_pictures_and_films_in_turn(clip, photo: np.ndarray, tmp_path: Path) -> None:
    for name in ("a.png", "clip.png"):
        Image.fromarray(photo).save(tmp_path / name)
    sources = [tmp_path / "a.png", clip(5), tmp_path / "clip.png"]
    reader = FrameReader(sources, Stems(tmp_path / "out", sources), every=2)
    assert reader.expected() == 5
    frames = list(reader)
    assert [frame.stem for frame in frames] == [
        *("a", "clip_000000", "clip_000002", "clip_000004", "clip_2"),
    ]
    assert [frame.number for frame in frames] == [None, 0, 2, 4, None]
    assert frames[0].place == {"file": str(sources[0])}
    assert frames[2].place == {"file": str(sources[1]), "frame": 2, "time": 0.4}
    assert frames[0].film is None
    assert frames[2].film == frames[3].film
    assert (frames[2].film.stem, frames[2].film.rate) == ("clip", 2.5)
    assert np.array_equal(frames[0].image, photo)
    assert not reader.faults


# I14 I15
def test_what_cannot_be_read_is_noted_and_the_rest_comes(clip, photo, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    Image.fromarray(photo).save(tmp_path / "good.png")
    torn = clip(60, keep=0.6)
    sources = [tmp_path / "bad.jpg", tmp_path / "bad.mp4", torn, tmp_path / "good.png"]
    reader = FrameReader(sources, Stems(tmp_path / "out", sources))
    frames = list(reader)
    assert [fault.source for fault in reader.faults] == sources[:3]
    assert all(str(fault.source) in str(fault.error) for fault in reader.faults)
    assert frames[-1].source == sources[3]
    assert {frame.source for frame in frames[:-1]} == {torn}


def test_a_limit(clip, tmp_path: Path) -> None:
    film = clip(6)
    reader = FrameReader([film, film], Stems(tmp_path, []), limit=8)
    assert reader.expected() == 8
    assert [frame.number for frame in reader] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert [one.stem for one in FrameReader([film], Stems(tmp_path, []), limit=1)] == [
        "clip_000000"
    ]
    assert FrameReader([film, Camera(0)], Stems(tmp_path, [])).expected() is None
