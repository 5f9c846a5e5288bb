"""What was odd in the files of a data set: sentences for people, a list for programs, or an error.

A reader hands `Findings` all that it drops, cuts or doubts. What cannot be read at all ends the
reading, unless everything is to be found: then it is one more finding, and the reading goes on
without it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rfcn.errors import DataError

BROKEN = "broken"
"""The kind of what could not be read at all; its place is the whole message."""

_SHOWN = 5
"""Examples a message names before it goes on counting."""


@dataclass(frozen=True)
class Finding:
    """One oddity."""

    kind: str
    place: str
    """Where, in words: file, object and values, as a sentence lists them."""
    file: str | None = None
    """The annotation or the picture."""
    object: int | str | None = None
    """Number of the object in its file (from 1), or its id."""


@dataclass
class Findings:
    """All oddities of a data set, in the order they were met."""

    tolerant: bool = False
    """Go on behind what cannot be read, so that everything is found."""
    found: list[Finding] = field(default_factory=list)

    def add(
        self, kind: str, place: str, *, file: object = None, object: int | str | None = None
    ) -> None:
        """Another one."""
        self.found.append(Finding(kind, place, None if file is None else str(file), object))

    @contextmanager
    def survived(self, file: object = None, *, object: int | str | None = None) -> Iterator[None]:
        """Inside, a DataError passes through; where we are tolerant it becomes a finding, and what
        follows the block goes on."""
        try:
            yield
        except DataError as fault:
            if not self.tolerant:
                raise
            self.add(BROKEN, str(fault), file=file, object=object)

    def __getitem__(self, kind: str) -> list[str]:
        """The places of a kind."""
        return [one.place for one in self.found if one.kind == kind]

    def notes(self, sentences: dict[str, str]) -> list[str]:
        """One sentence a kind, with how many and where; kinds without any are left out."""
        return [
            f"{sentence}: {len(places)} ({some(places)})."
            for kind, sentence in sentences.items()
            if (places := self[kind])
        ]

    def stop_at(self, kind: str, sentence: str) -> None:
        """Raises DataError where there is a finding of this kind, unless we are tolerant.

        sentence: with {count} and {places} to be filled in.
        """
        if (places := self[kind]) and not self.tolerant:
            raise DataError(sentence.format(count=len(places), places=some(places)))

    def stop_at_bad_boxes(self) -> None:
        """Raises DataError where a box of kind `bad`, without area, was found."""
        self.stop_at(
            "bad",
            "{count} boxes have no area: {places}. Mend them, or set `data.bad_box: drop`.",
        )


def some(places: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
