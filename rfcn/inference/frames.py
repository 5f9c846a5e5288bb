"""Pictures and the frames of films as one stream, each with a name for what is written of it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from rfcn.datasets.rules import FileRules
from rfcn.errors import DataError
from rfcn.inference.film import Film
from rfcn.inference.sources import Camera, Source, is_film


@dataclass(frozen=True)
class FilmFacts:
    """Which film a frame is of."""

    stem: str
    """Its name for what is written of the whole film."""
    rate: float
    """Frames a second, of those that are looked at."""


@dataclass(frozen=True)
class Frame:
    """One picture on its way."""

    image: np.ndarray
    """uint8 RGB [H, W, 3]."""
    source: Source
    stem: str
    """Its name for what is written, unique whatever the suffix."""
    number: int | None = None
    """Of a film: which frame, from 0."""
    seconds: float | None = None
    """Of a film: when."""
    film: FilmFacts | None = None

    @property
    def place(self) -> dict[str, str | int | float]:
        """{"file"}, of a film {"file", "frame", "time"} too: JSON values."""
        if self.number is None or self.seconds is None:
            return {"file": str(self.source)}
        return {
            "file": str(self.source),
            "frame": self.number,
            "time": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Fault:
    """A source that could not be read, or not to its end."""

    source: Source
    error: DataError


class Stems:
    """Names without suffix for what is written into a folder: each once, and none of an input.

    Pictures of one name from several folders, or `a.jpg` beside `a.png`, get numbers. Capitals make
    no difference, as on some disks.
    """

    def __init__(self, folder: Path, inputs: Iterable[Source]) -> None:
        files = [one for one in inputs if isinstance(one, Path)]
        here = folder.resolve()
        self._taken = {
            file.stem.casefold() for file in map(Path.resolve, files) if file.parent == here
        }

    def take(self, wanted: str) -> str:
        """The name, or with the first free number behind it."""
        # a name of a picture may also stand on a line of a list
        wanted = re.sub(r"[\x00-\x1f/\\]", "_", wanted).strip() or "picture"
        stem, number = wanted, 1
        while stem.casefold() in self._taken:
            number += 1
            stem = f"{wanted}_{number}"
        self._taken.add(stem.casefold())
        return stem


@dataclass
class FrameReader:
    """Reads sources one after the other; what cannot be read is noted, and the next one follows."""

    sources: Sequence[Source]
    stems: Stems
    rules: FileRules = field(default_factory=FileRules)
    """How pictures are read."""
    every: int = 1
    """Of films one frame in so many."""
    limit: int | None = None
    """Pictures and frames after which to stop."""
    faults: list[Fault] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        return islice(self._all(), self.limit)

    def expected(self) -> int | None:
        """How many pictures and frames there will be, as far as headers tell; None without end."""
        total = 0
        for source in self.sources:
            if isinstance(source, Camera):
                return self.limit
            count = 1
            if is_film(source):
                count = _frame_count(source, self.every)
            total += count
        return total if self.limit is None else min(total, self.limit)

    def _all(self) -> Iterator[Frame]:
        for source in self.sources:
            try:
                if is_film(source):
                    yield from self._film(source)
                else:
                    assert isinstance(source, Path)
                    image = self.rules.read(source)
                    yield Frame(image, source, self.stems.take(source.stem))
            except DataError as fault:
                self.faults.append(Fault(source, fault))

    def _film(self, source: Source) -> Iterator[Frame]:
        film = Film(source)
        stem = f"camera{source.number}" if isinstance(source, Camera) else source.stem
        facts = FilmFacts(self.stems.take(stem), film.rate / self.every)
        try:
            for number, image in film.frames(self.every):
                name = self.stems.take(f"{facts.stem}_{number:06d}")
                yield Frame(image, source, name, number, number / film.rate, facts)
        finally:
            film.close()


def _frame_count(source: Source, every: int) -> int:
    try:
        film = Film(source)
    except DataError:
        return 0
    film.close()
    return -(-(film.promised or 0) // every)
