"""Where pictures to detect on come from: a file, a folder, or a pattern."""

import glob
from collections.abc import Sequence
from pathlib import Path

from rfcn.datasets.image import EXTENSIONS
from rfcn.errors import DataError


def find_pictures(inputs: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The pictures meant by paths and patterns, in order, each once, and the files passed over.

    A folder means all files directly in it; those without a picture's extension are passed over.
    A file that is named itself is taken whatever its extension.

    Raises:
        DataError: a path does not exist, or there is no picture at all.
    """
    pictures: dict[Path, None] = {}
    others: list[Path] = []
    for text in inputs:
        for path in _expand(text):
            if path.is_dir():
                files = sorted(file for file in path.iterdir() if file.is_file())
                pictures.update(dict.fromkeys(file for file in files if _is_picture(file)))
                others += [file for file in files if not _is_picture(file)]
            else:
                pictures[path] = None
    if not pictures:
        passed = f" ({len(others)} other files passed over)" if others else ""
        raise DataError(
            f"no pictures in {', '.join(inputs)}{passed}. Give picture files, a folder of them, "
            f"or a pattern; known extensions: {' '.join(EXTENSIONS)}."
        )
    return list(pictures), others


def _expand(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.exists():
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise DataError(
            f"{text}: there is no such file or folder, and no file fits it as a pattern."
        )
    return [Path(match) for match in matches]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS
