"""What is done about the files of a data set: how they are read, and what a missing one means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rfcn.datasets.image import MAX_PIXELS, Header, read_header, read_image

LEAST_SKIPPED, MOST_SKIPPED = 3, 0.01
"""Pictures that may be skipped: so many, or this share of all, whatever is more."""


@dataclass(frozen=True)
class FileRules:
    """One set of rules for training, evaluation and `rfcn infer`."""

    on_bad_image: Literal["stop", "skip"] = "stop"
    """A picture that is missing, damaged or was replaced."""
    missing_annotation: Literal["stop", "skip"] = "stop"
    """A listed picture without annotation file."""
    size_mismatch: Literal["note", "stop"] = "note"
    """An annotation that states another size than the picture has."""
    max_pixels: int = MAX_PIXELS
    """Larger pictures are refused by their header."""
    exif: Literal["apply", "ignore"] = "apply"
    """Whether pictures are turned upright as their EXIF orientation says."""

    def read(self, path: str | Path, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """The picture, as `image.read_image` gives it under these rules."""
        upright = self.exif == "apply"
        return read_image(path, max_pixels=self.max_pixels, upright=upright, at_least=at_least)

    def header(self, path: str | Path) -> Header:
        """What the file says of itself, as `image.read_header` has it under these rules."""
        return read_header(path, max_pixels=self.max_pixels, upright=self.exif == "apply")

    def may_skip(self, pictures: int) -> int:
        """How many of so many pictures may be skipped, before it is a fault of the whole set."""
        if self.on_bad_image == "stop":
            return 0
        return max(LEAST_SKIPPED, int(pictures * MOST_SKIPPED))
