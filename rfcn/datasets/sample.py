"""What a data set gives: one picture with its truth. Every data set keeps to `Dataset`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from rfcn.structures import Target


@dataclass(frozen=True)
class Sample:
    """A picture, upright, and what is true of it in the picture's own pixels."""

    image: np.ndarray
    """[H, W, 3] uint8, RGB."""
    target: Target
    """Every object of the picture, the difficult ones too, marked."""
    id: str
    """Name of the picture, unique in its data set."""
    path: Path
    """The file it was read from."""
    original_size: tuple[int, int] | None = None
    """(height, width) as the picture lies on disk, once it was resized; None before."""
    proposals: Tensor | None = None
    """[P, 4] float32, best first, where they come from a file (see `WithProposals`)."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of `image` as it is now."""
        return self.image.shape[0], self.image.shape[1]


class Dataset(Protocol):
    """Pictures with ground truth, by number."""

    class_names: tuple[str, ...]
    """Label L is `class_names[L - 1]`; label 0 is background."""
    ids: list[str]
    """The name of each picture, unique."""
    sizes: list[tuple[int, int]]
    """(height, width) of each picture, upright, known without decoding it."""
    notes: list[str]
    """Sentences on what was dropped, cut or looks odd."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Picture number `index`, decoded. Raises DataError when it cannot be read."""
        ...

    def reduced(self, index: int, at_least: tuple[int, int]) -> Sample:
        """The same, where (height, width) `at_least` are enough: the picture may come smaller than
        it is, its boxes with it, and `original_size` tells how large it is."""
        ...

    def target(self, index: int) -> Target:
        """The truth of picture number `index`, without decoding it."""
        ...
