"""What data sets of any format share: objects in flat arrays, and names of classes.

A data set reads its files, tells `Findings` what was odd in them, and hands its objects over.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfcn.boxes import area, rescale
from rfcn.datasets.rules import FileRules
from rfcn.datasets.sample import Sample
from rfcn.errors import DataError
from rfcn.structures import Target

Box = tuple[float, float, float, float]
"""Half-open corners, in pixels of the picture."""


class ListedPictures:
    """Pictures on disk whose objects are known: the part of `Dataset` that no format changes."""

    ids: list[str]
    paths: list[str]
    sizes: list[tuple[int, int]]
    class_names: tuple[str, ...]
    notes: list[str]
    files: FileRules = FileRules()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Picture number `index` (0-based) with all its objects, the difficult ones marked."""
        path = self.paths[index]
        image = self.files.read(path)
        if image.shape[:2] != self.sizes[index]:
            raise DataError(_changed(path))
        return Sample(image, self.target(index), self.ids[index], Path(path))

    def reduced(self, index: int, at_least: tuple[int, int]) -> Sample:
        """The same for a resize to `at_least` (height, width): a large JPEG may come smaller (see
        `read_image`), with its objects in the pixels that it has then, and `original_size` set."""
        path, size = self.paths[index], self.sizes[index]
        image = self.files.read(path, at_least=at_least)
        now = (image.shape[0], image.shape[1])
        if now not in [tuple(-(-side // by) for side in size) for by in (1, 2, 4, 8)]:
            raise DataError(_changed(path))
        target = self.target(index)
        if now != size:
            target = replace(target, boxes=rescale(target.boxes, size, now))
        return Sample(image, target, self.ids[index], Path(path), original_size=size)

    def target(self, index: int) -> Target:
        """The objects of picture number `index`, without decoding it."""
        rows = slice(self._starts[index], self._starts[index + 1])
        return Target(
            boxes=torch.from_numpy(self._boxes[rows].copy()),
            labels=torch.from_numpy(self._labels[rows].copy()),
            difficult=torch.from_numpy(self._difficult[rows].copy()),
        )

    def area(self, index: int) -> Tensor:
        """[G] float32: the areas of the objects of `target(index)`, here those of their boxes."""
        return area(self.target(index).boxes)

    def _keep(self, objects: Iterable[Sequence[tuple[Box, int, bool]]]) -> None:
        """The (box, label, difficult) of each picture's objects, picture by picture: flat arrays,
        of which picture i owns rows starts[i] to starts[i + 1]."""
        kept: list[tuple[Box, int, bool]] = []
        starts = [0]
        for of_picture in objects:
            kept += of_picture
            starts.append(len(kept))
        self._starts = np.array(starts)
        self._boxes = np.array([box for box, _, _ in kept], dtype=np.float32).reshape(-1, 4)
        self._labels = np.array([label for _, label, _ in kept], dtype=np.int64)
        self._difficult = np.array([flag for _, _, flag in kept], dtype=bool)


def _changed(path: str) -> str:
    return (
        f"{path}: the picture changed its size after the data set was read. Restore the file that "
        "belongs to the annotation, or start again with the new one."
    )


# --------------------------------------------------------------------------------------- classes


def checked_names(classes: Sequence[str] | str) -> tuple[str, ...]:
    """Class names in label order, of a list or of a text file with one a line.

    Raises:
        DataError: the file cannot be read; a name is empty or comes twice.
    """
    source = "`data.classes`"
    if isinstance(classes, str):
        source, classes = classes, _read_classes(Path(classes))
    names = tuple(classes)
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if not names or "" in names or repeated:
        fault = f"{', '.join(repeated)} twice" if any(repeated) else "no or empty names"
        raise DataError(f"{source}: a list of classes with {fault}. List each name once.")
    return names


def _read_classes(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"`data.classes`: {path} cannot be read as a text file with one class name "
            f"a line ({fault}). (A single class is written [{path}].)"
        ) from None
    return [line.strip() for line in lines if line.strip()]


def stop_at_unknown(named: Iterable[tuple[str, Path]], known: Sequence[str]) -> None:
    """Raises DataError where an object, as (class name, file), is of none of the known classes."""
    listed_names = frozenset(known)
    unknown = [(name, file) for name, file in named if name not in listed_names]
    if not unknown:
        return
    count = Counter(name for name, _ in unknown)
    listed = ", ".join(f"{name!r} ({n} objects{nearest(name, known)})" for name, n in count.items())
    raise DataError(
        f"Classes in the annotations that are not among the {len(known)} known ones: "
        f"{listed}; first in {unknown[0][1]}. Add them to `data.classes`, mend the files, or "
        "set `data.unknown_class: skip`."
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """`, nearest 'dog'`, where one of the known names looks like it; else nothing."""
    lower = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), lower, n=1)
    return f", nearest {lower[near[0]]!r}" if near else ""
