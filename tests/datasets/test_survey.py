"""A look at every picture: what it says of good and bad files, in one process and in several."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets import survey as module
from rfcn.datasets.rules import FileRules
from rfcn.datasets.survey import Look, survey
from rfcn.errors import MachineError


def noise(seed: int = 0, size: tuple[int, int] = (20, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def look_at(path: str, **rules: object) -> Look:
    return module.look_at(path, FileRules(**rules))  # type: ignore[arg-type]


def test_a_good_picture(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    look = look_at(str(tmp_path / "a.png"))
    assert look.fault is None
    assert look.size == (20, 30)
    assert (look.turned, look.remarks) == (1, ())
    assert len(look.small) == 256
    assert 0 < look.fingerprint < 2**64


def test_equal_pixels_are_equal_whatever_the_file(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    noise().save(tmp_path / "b.bmp")
    a, b = (look_at(str(tmp_path / name)) for name in ("a.png", "b.bmp"))
    assert a.pixels == b.pixels
    changed = np.array(noise())
    changed[-1, -1, -1] ^= 1
    Image.fromarray(changed).save(tmp_path / "c.png")
    assert look_at(str(tmp_path / "c.png")).pixels != a.pixels


def test_the_same_bytes_in_another_shape_are_another_picture(tmp_path: Path) -> None:
    for name, shape in {"a.png": (4, 6, 3), "b.png": (6, 4, 3)}.items():
        Image.fromarray(np.arange(72, dtype=np.uint8).reshape(shape)).save(tmp_path / name)
    assert look_at(str(tmp_path / "a.png")).pixels != look_at(str(tmp_path / "b.png")).pixels


def test_i2_a_truncated_file_is_a_fault_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    noise(size=(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    look = look_at(str(path))
    assert look.fault is not None
    assert str(path) in look.fault
    assert (look.size, look.pixels, look.small) == ((0, 0), b"", b"")


def test_i7_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise().save(tmp_path / "a.jpg", exif=exif)
    look = look_at(str(tmp_path / "a.jpg"))
    assert (look.turned, look.size) == (6, (30, 20))
    assert look_at(str(tmp_path / "a.jpg"), exif="ignore").size == (20, 30)


def test_i3_damage_that_the_decoder_gets_over_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise(size=(64, 64)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes(40) + content[-2:])
    look = look_at(str(path))
    assert look.fault is None
    assert "extraneous bytes" in (look.damage or "")


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("alpha.png", "RGBA", "alpha on white"),
        ("cmyk.jpg", "CMYK", "CMYK converted"),
        ("deep.png", "I;16", "16 bits scaled to 8"),
        ("float.tif", "F", "stretched to 8 bits"),
    ],
)
def test_i5_modes_are_remarked(tmp_path: Path, name: str, mode: str, words: str) -> None:
    grey = noise().convert("L")
    picture = grey.convert("I").convert("I;16") if mode == "I;16" else noise().convert(
        "L" if mode == "F" else "RGB"
    ).convert(mode)  # fmt: skip
    picture.save(tmp_path / name)
    assert look_at(str(tmp_path / name)).remarks == (words,)


def test_i4_i6_extension_and_frames_are_remarked(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.jpg", format="PNG")
    assert look_at(str(tmp_path / "a.jpg")).remarks == ("PNG named .jpg",)
    noise(0).save(tmp_path / "a.gif", save_all=True, append_images=[noise(1)])
    assert look_at(str(tmp_path / "a.gif")).remarks == ("2 frames, the first is taken",)


# ------------------------------------------------------------------------------------ processes


def test_several_processes_say_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(module, "_AHEAD", 1)
    for number in range(7):
        noise(number).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in (*range(7), 9)]
    alone = list(survey(paths, workers=0))
    assert alone[-1].fault is not None
    looks = survey(paths, workers=2)
    first = next(looks)
    for worker in multiprocessing.active_children():  # L11: Ctrl-C goes to the whole group
        os.kill(worker.pid or 0, signal.SIGINT)
    assert [first, *looks] == alone


def test_a_killed_worker_is_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def result(self) -> None:
            raise module.BrokenProcessPool

    class Pool:
        def submit(self, *words: object) -> Broken:
            return Broken()

        def shutdown(self, *, cancel_futures: bool) -> None:
            assert cancel_futures

    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda *_, **__: Pool())
    with pytest.raises(MachineError, match="--workers 1"):
        list(survey(["x"] * 200, workers=2))
