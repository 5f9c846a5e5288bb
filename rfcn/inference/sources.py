"""Where pictures to detect on come from: files, folders, patterns, lists, videos and cameras."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfcn.datasets.image import EXTENSIONS, FILMS
from rfcn.errors import DataError


@dataclass(frozen=True)
class Camera:
    """A camera of this machine."""

    number: int

    def __str__(self) -> str:
        return f"camera {self.number}"


Source = Path | Camera
"""A file of a picture, a video file (by its extension: `is_film`), or a camera."""


def find_sources(
    inputs: Sequence[str], *, recursive: bool = False
) -> tuple[list[Source], list[Path]]:
    """The pictures, videos and cameras meant by some words, in order, each once; and the files
    passed over.

    A word is a file; a folder, which means all files directly in it (`recursive`: and in the
    folders below); a pattern; a text file (.txt) that lists such, one a line; or the number of a
    camera. What a folder or a pattern holds is passed over when it lacks the extension of a picture
    or a video; a file that is named itself is always taken.

    Raises:
        DataError: a path does not exist, or there is nothing at all.
    """
    found: dict[Source, None] = {}
    others: list[Path] = []
    for text in _listed(inputs):
        path = Path(text).expanduser()
        if path.is_file():
            found[path] = None
        elif text.isdecimal() and not path.exists():
            found[Camera(int(text))] = None
        else:
            for file in _files(path, recursive):
                if is_picture(file) or is_film(file):
                    found[file] = None
                else:
                    others.append(file)
    if not found:
        passed = f" ({len(others)} other files passed over)" if others else ""
        raise DataError(
            f"no pictures in {', '.join(inputs)}{passed}. Give picture or video files, a folder of "
            "them, a pattern, a .txt file that lists them, or the number of a camera; known "
            f"extensions: {' '.join((*EXTENSIONS, *FILMS))}."
        )
    return list(found), others


def is_picture(source: Source) -> bool:
    """Whether a file is a picture by its extension."""
    return isinstance(source, Path) and source.suffix.lower() in EXTENSIONS


def is_film(source: Source) -> bool:
    """Whether it gives frames one after the other: a camera, or a video by its extension."""
    return isinstance(source, Camera) or source.suffix.lower() in FILMS


def _listed(inputs: Iterable[str]) -> Iterator[str]:
    """The words themselves, and those that text files among them list: not lists of lists."""
    for text in inputs:
        path = Path(text).expanduser()
        if text == "-":
            raise DataError(
                "-: pictures are not read from standard input. Write their names into a .txt "
                "file, one a line, and give that."
            )
        if path.suffix.lower() != ".txt" or not path.is_file():
            yield text
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise DataError(f"{path}: cannot be read as a list of pictures ({fault}).") from None
        for line in filter(None, map(str.strip, lines)):
            if not line.startswith("#"):
                beside = path.parent / line
                yield str(beside) if not Path(line).exists() and beside.exists() else line


def _files(path: Path, recursive: bool) -> Iterator[Path]:
    """The files of a folder, or of what a pattern fits."""
    if path.is_dir():
        inside = path.rglob("*") if recursive else path.iterdir()
        yield from sorted(file for file in inside if file.is_file())
        return
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if not matches:
        raise DataError(
            f"{path}: there is no such file or folder, and no file fits it as a pattern."
        )
    for match in matches:
        if match.is_dir():
            yield from _files(match, recursive)
        else:
            yield match
