"""A run over many pictures."""

import errno
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from rfcn.datasets.image import read_image
from rfcn.errors import ConfigError, DataError, MachineError
from rfcn.inference.detector import Detector
from rfcn.inference.frames import Fault, Frame, FrameReader, Stems
from rfcn.inference.results import NamedDetections
from rfcn.inference.session import (
    Summary,
    Wish,
    check_folder,
    detect_all,
    make_writers,
    write_facts,
)
from rfcn.visualization.files import write_image

NAMES = ("cat", "dog", "red fox")


@pytest.fixture
def reader(photo: np.ndarray, tmp_path: Path) -> FrameReader:
    """Five pictures of two sizes, and one that is none."""
    paths = [tmp_path / f"{name}.png" for name in "abcde"]
    for number, path in enumerate(paths):
        write_image(path, photo[: 48 - number % 2, :: (-1) ** number])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    return FrameReader([*paths[:2], tmp_path / "bad.png", *paths[2:]], Stems(tmp_path, []))


class Keeper:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[Frame, NamedDetections]] = []
        self.closed = False

    def write(self, frame: Frame, found: NamedDetections) -> None:
        self.kept.append((frame, found))

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_all_in_order_as_if_alone(tiny: Detector, reader: FrameReader, batch_size: int) -> None:
    keeper, told = Keeper(), []
    wish = Wish(score=0.25, classes=("red fox", "dog"), most=5)
    summary = detect_all(
        tiny,
        reader,
        [keeper],
        wish=wish,
        batch_size=batch_size,
        after=lambda frame, found: told.append(frame.stem),
    )
    assert told == list("abcde")
    assert keeper.closed
    for frame, found in keeper.kept:
        alone = tiny.predict(read_image(frame.source)).above(0.25).of("dog", "red fox")[:5]
        assert 0 < len(found) <= 5
        assert found.labels.equal(alone.labels)
        torch.testing.assert_close(found.scores, alone.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.boxes, alone.boxes, rtol=0, atol=1e-2)
    assert summary.pictures == 5
    assert summary.found.total() == sum(len(found) for _, found in keeper.kept)
    assert 0 < summary.detecting < summary.seconds
    assert summary.rate == pytest.approx(5 / summary.seconds)
    assert [fault.source.name for fault in reader.faults] == ["bad.png"]


# L11
def test_l11_what_was_done_stays_when_stopped_or_broken(
    tiny: Detector, reader: FrameReader, tmp_path: Path
) -> None:
    def run(**options: object) -> list[str]:
        writers = make_writers(["json"], tmp_path, NAMES, frames=False)
        everything = {"wish": Wish(), "batch_size": 1, "after": lambda frame, found: None}
        with suppress(RuntimeError):
            detect_all(tiny, reader, writers, **{**everything, **options})
        records = json.loads((tmp_path / "detections.json").read_text())
        return [Path(one["file"]).stem for one in records]

    answers: Iterator[bool] = iter([False, False, True])
    assert run(stopping=lambda: next(answers)) == ["a", "b", "c"]

    def fail(frame: Frame, found: NamedDetections) -> None:
        if frame.stem.startswith("d"):
            raise RuntimeError("the disk is full")

    reader.stems = Stems(tmp_path, [])
    assert run(after=fail) == ["a", "b", "c", "d"]


def test_a_full_disk_closes_what_is_open(tiny: Detector, reader: FrameReader) -> None:
    class Full(Keeper):
        def write(self, frame: Frame, found: NamedDetections) -> None:
            super().write(frame, found)
            if len(self.kept) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")

    writers = [Keeper(), Full(), Keeper()]
    with pytest.raises(MachineError, match=r"could not be written: .*No space.* Free some room"):
        detect_all(
            tiny,
            reader,
            writers,
            wish=Wish(),
            batch_size=1,
            after=lambda frame, found: None,
        )
    assert [(len(one.kept), one.closed) for one in writers] == [(2, True), (2, True), (1, True)]


def test_whose_folder_it_is(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", ["voc"])
    folder = tmp_path / "there"
    folder.mkdir()
    check_folder(folder, ["voc"])
    (folder / "mine.jpg").touch()
    with pytest.raises(ConfigError, match="files that this command did not write"):
        check_folder(folder, ["json"])
    with pytest.raises(ConfigError, match=r"mine\.jpg is a file"):
        check_folder(folder / "mine.jpg", ["json"])
    (folder / "infer.json").touch()
    (folder / "voc").mkdir()
    check_folder(folder, ["json", "yolo"])
    with pytest.raises(ConfigError, match=r"voc/ is there from an earlier run, perhaps corrected"):
        check_folder(folder, ["json", "voc"])


def test_the_facts_of_a_run(tmp_path: Path) -> None:
    summary = Summary(pictures=4, seconds=2.0, detecting=1.5)
    summary.found.update(["cat", "dog", "cat"])
    fault = Fault(Path("b.jpg"), DataError("b.jpg: damaged"))
    write_facts(tmp_path, {"score": 0.5}, summary, [fault], "SIGINT")
    assert json.loads((tmp_path / "infer.json").read_text()) == {
        "score": 0.5,
        "pictures": 4,
        "detections": {"cat": 2, "dog": 1},
        "seconds": 2.0,
        "seconds_detecting": 1.5,
        "pictures_a_second": 2.0,
        "not_read": [{"file": "b.jpg", "why": "b.jpg: damaged"}],
        "stopped_by": "SIGINT",
    }
