"""What is done about the files of a data set: how they are read, and what a missing one means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rfcn.datasets.findings import Findings
from rfcn.datasets.image import MAX_PIXELS, Header, read_header, read_image
from rfcn.errors import DataError

LEAST_SKIPPED, MOST_SKIPPED = 3, 0.01
"""Pictures that may be skipped: so many, or this share of all, whatever is more."""

FILE_NOTES = {
    "no picture": "Missing pictures, which will be skipped",
    "bad picture": "Pictures that cannot be read, which will be skipped",
    "several": "Of animations and files of several pages the first picture is used",
}


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

    def header_of(
        self, path: Path, findings: Findings, *, object: int | str | None = None
    ) -> Header | None:
        """The same while a data set is read; None where the file cannot be read and that does not
        end the reading: `findings` is tolerant, or the picture will be skipped in its turn. object:
        its id, for `findings`."""
        with findings.survived(path, object=object):
            try:
                header = self.header(path)
            except DataError as fault:
                if self.on_bad_image == "stop" or findings.tolerant:
                    raise
                findings.add("bad picture", str(fault), file=path, object=object)
                return None
            if header.several:
                findings.add("several", str(path), file=path, object=object)
            return header
        return None

    def stop_at_too_many(self, findings: Findings, pictures: int) -> None:
        """Raises DataError where more of so many pictures cannot be read than may be skipped."""
        bad = len(findings["no picture"]) + len(findings["bad picture"])
        most = self.may_skip(pictures)
        for kind in ("bad picture", "no picture"):
            if bad > most:
                findings.stop_at(
                    kind,
                    f"{bad} of {pictures} pictures are missing or damaged, and `data.on_bad_image: "
                    f"skip` passes over {most}: {{places}}. Mend them, or take their names off the "
                    "list.",
                )

    def stop_at_sizes(self, findings: Findings) -> None:
        """Raises DataError where a size that is stated is not the real one, unless that may be."""
        for kind in ("size", "transposed") if self.size_mismatch == "stop" else ():
            findings.stop_at(
                kind,
                "{count} annotations state another size than their picture has: {places}. Mend "
                "them (an EXIF orientation may be the cause), or set `data.size_mismatch: note`.",
            )

    @property
    def skips(self) -> bool:
        """Whether pictures that cannot be read stay in a data set, to be skipped in their turn."""
        return self.on_bad_image == "skip"

    def may_skip(self, pictures: int) -> int:
        """How many of so many pictures may be skipped, before it is a fault of the whole set."""
        if not self.skips:
            return 0
        return max(LEAST_SKIPPED, int(pictures * MOST_SKIPPED))
