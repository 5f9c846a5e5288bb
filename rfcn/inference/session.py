"""One run over many pictures: read, detect, write, and say at the end what became of them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from rfcn.engine.atomic import write_atomically
from rfcn.errors import ConfigError, MachineError
from rfcn.inference.batches import alike_together
from rfcn.inference.dataset_writers import COCOWriter, VOCWriter, YOLOWriter
from rfcn.inference.detector import Detector
from rfcn.inference.formats import FOLDERS
from rfcn.inference.frames import Fault, Frame, FrameReader
from rfcn.inference.picture_writers import AnnotatedWriter, CropWriter, VideoWriter
from rfcn.inference.results import NamedDetections
from rfcn.inference.writers import CSVWriter, JSONLinesWriter, JSONWriter, Writer

FACTS = "infer.json"
"""What a run leaves in its folder in any case: what was asked, and what became of it."""
_OWN = (FACTS, "detections.json")


@dataclass(frozen=True)
class Wish:
    """What of the detections is kept."""

    score: float = 0.5
    """The lowest."""
    classes: tuple[str, ...] | None = None
    """By name; all by default."""
    most: int | None = None
    """Of a picture."""


@dataclass
class Summary:
    """What became of the pictures."""

    pictures: int = 0
    """And frames, that were detected on and written."""
    found: Counter[str] = field(default_factory=Counter)
    """Detections by class."""
    seconds: float = 0
    """Reading, detecting and writing."""
    detecting: float = 0
    """Seconds of resizing and detecting alone."""

    @property
    def rate(self) -> float:
        """Pictures a second, all in all."""
        return self.pictures / max(self.seconds, 1e-9)


def check_folder(folder: Path, formats: Sequence[str]) -> None:
    """Refuse a folder in which somebody's files could be overwritten, or mixed with others.

    Raises:
        ConfigError: it is a file, or holds files that no earlier run wrote, or a data set of one.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is a file. Name a folder, new or empty.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any((folder / name).is_file() for name in _OWN):
        raise ConfigError(
            f"--output {folder} holds files that this command did not write, and pictures could be "
            "overwritten. Name another folder, new or empty."
        )
    for name in FOLDERS:
        if name in formats and (folder / name).exists():
            raise ConfigError(
                f"--output {folder}: {name}/ is there from an earlier run, perhaps corrected by "
                "hand since. Name another folder, or take it away."
            )


def make_writers(
    formats: Sequence[str], folder: Path, class_names: Sequence[str], *, frames: bool
) -> list[Writer]:
    """What writes each of these formats into a folder. frames: annotated ones of films too."""
    makers: dict[str, Callable[[], Writer]] = {
        "annotated": lambda: AnnotatedWriter(folder, frames=frames),
        "video": lambda: VideoWriter(folder),
        "json": lambda: JSONWriter(folder / "detections.json"),
        "jsonl": lambda: JSONLinesWriter(folder / "detections.jsonl"),
        "csv": lambda: CSVWriter(folder / "detections.csv"),
        "coco": lambda: COCOWriter(folder / "coco", class_names),
        "voc": lambda: VOCWriter(folder / "voc"),
        "yolo": lambda: YOLOWriter(folder / "yolo", class_names),
        "crops": lambda: CropWriter(folder / "crops", class_names),
    }
    return [makers[name]() for name in dict.fromkeys(formats)]


def detect_all(
    detector: Detector,
    reader: FrameReader,
    writers: Sequence[Writer],
    *,
    wish: Wish,
    batch_size: int,
    after: Callable[[Frame, NamedDetections], object],
    stopping: Callable[[], bool] = lambda: False,
) -> Summary:
    """Detect on every picture and frame that can be read, write what was found, in their order.

    after: is told of each. stopping: asked after each; what was done until then is kept whole, as
    it is when anything fails. Batches are of pictures of one size.

    Raises:
        MachineError: something cannot be written.
    """
    summary = Summary()

    def detect(group: list[Frame]) -> list[NamedDetections]:
        begun = perf_counter()
        found = detector.predict(
            [frame.image for frame in group], score=wish.score, classes=wish.classes
        )
        summary.detecting += perf_counter() - begun
        return found

    begun = perf_counter()
    frames = alike_together(
        reader, detect, kind=lambda frame: frame.image.shape, batch_size=batch_size
    )
    with _named_fault(), ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        for frame, everything in frames:
            found = everything[: wish.most]
            for writer in writers:
                writer.write(frame, found)
            summary.pictures += 1
            summary.found.update(found.names)
            after(frame, found)
            if stopping():
                break
    summary.seconds = perf_counter() - begun
    return summary


@contextmanager
def _named_fault() -> Iterator[None]:
    """A disk that is full, or a folder that was taken away, is a fault of the machine."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise MachineError(
            f"what was found could not be written: {fault}. Free some room, or name another "
            "folder with --output; what was written until now stays."
        ) from fault


def write_facts(
    folder: Path,
    asked: Mapping[str, Any],
    summary: Summary,
    faults: Sequence[Fault],
    stopped_by: str | None,
) -> None:
    """Write `infer.json`. asked: JSON values; stopped_by: the signal, if any."""
    facts = {
        **asked,
        "pictures": summary.pictures,
        "detections": dict(summary.found),
        "seconds": round(summary.seconds, 3),
        "seconds_detecting": round(summary.detecting, 3),
        "pictures_a_second": round(summary.rate, 3),
        "not_read": [{"file": str(one.source), "why": str(one.error)} for one in faults],
        "stopped_by": stopped_by,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / FACTS, lambda file: file.write(text.encode()))
