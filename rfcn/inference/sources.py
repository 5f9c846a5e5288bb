"""Where pictures to detect on come from: a file, a folder, or a pattern."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from rfcn.datasets.image import EXTENSIONS
from rfcn.errors import DataError


def find_pictures(inputs: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The pictures meant by paths and patterns, in order, each once, and the files passed over.

    A folder means all files directly in it. What a folder or a pattern holds is passed over when it
    lacks a picture's extension; a file that is named itself is always taken.

    Raises:
        DataError: a path does not exist, or there is no picture at all.
    """
    pictures: dict[Path, None] = {}
    others: list[Path] = []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_file():
            pictures[path] = None
            continue
        files = list(_files(path))
        pictures.update(dict.fromkeys(file for file in files if _is_picture(file)))
        others += [file for file in files if not _is_picture(file)]
    if not pictures:
        passed = f" ({len(others)} other files passed over)" if others else ""
        raise DataError(
            f"no pictures in {', '.join(inputs)}{passed}. Give picture files, a folder of them, "
            f"or a pattern; known extensions: {' '.join(EXTENSIONS)}."
        )
    return list(pictures), others


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder, or of what a pattern fits."""
    if path.is_dir():
        yield from sorted(file for file in path.iterdir() if file.is_file())
        return
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if not matches:
        raise DataError(
            f"{path}: there is no such file or folder, and no file fits it as a pattern."
        )
    for match in matches:
        if match.is_dir():
            yield from _files(match)
        else:
            yield match


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS
