"""What was found, as pictures: annotated ones, annotated videos, crops and score maps."""

import re
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path

from rfcn.inference.detector import Detector
from rfcn.inference.explain import explain
from rfcn.inference.film import FilmWriter
from rfcn.inference.frames import Frame
from rfcn.inference.results import NamedDetections
from rfcn.visualization.files import write_image
from rfcn.visualization.score_maps import draw_score_maps


class AnnotatedWriter:
    """A copy of each picture with boxes, STEM.jpg; frames of films where those are wanted too."""

    def __init__(self, folder: Path, *, frames: bool) -> None:
        self.folder = folder
        self.frames = frames

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Draw one."""
        if self.frames or frame.film is None:
            write_image(self.folder / f"{frame.stem}.jpg", found.draw())

    def close(self) -> None:
        """Nothing is left to do."""


class VideoWriter:
    """Each film with boxes, as a film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stem = ""
        self._film: FilmWriter | None = None

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Append a frame to its film."""
        if frame.film is None:
            return
        if self._film is None or self._stem != frame.film.stem:
            self.close()
            self._stem = frame.film.stem
            size = frame.image.shape[0], frame.image.shape[1]
            path = self.folder / self._stem
            self._film = FilmWriter(path, rate=frame.film.rate, size=size)
        self._film.write(found.draw())

    def close(self) -> None:
        """Complete the film at work."""
        if self._film is not None:
            self._film.close()
            self._film = None


class CropWriter:
    """What each box holds, as crops/CLASS/STEM_NUMBER.jpg; 0 is the surest of its picture."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        folders: dict[str, Path] = {}
        for label, name in enumerate(class_names, start=1):
            plain = re.sub(r"[\x00-\x1f/\\]", "_", name).strip(" .") or f"class_{label}"
            taken = {one.name.casefold() for one in folders.values()}
            unlike = plain if plain.casefold() not in taken else f"{plain}_{label}"
            folders[name] = folder / unlike
        self._folders = folders

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Cut out all of a picture: every pixel that a box touches, and at least one."""
        height, width = frame.image.shape[:2]
        for number, one in enumerate(found):
            x1, y1, x2, y2 = one.box
            left, top = min(floor(x1), width - 1), min(floor(y1), height - 1)
            piece = frame.image[top : max(ceil(y2), top + 1), left : max(ceil(x2), left + 1)]
            write_image(self._folders[one.name] / f"{frame.stem}_{number}.jpg", piece)

    def close(self) -> None:
        """Nothing is left to do."""


class ScoreMapWriter:
    """The score maps behind detection `index` of each picture, STEM_score_maps_INDEX.png."""

    def __init__(self, folder: Path, detector: Detector, index: int) -> None:
        self.folder = folder
        self.detector = detector
        self.index = index

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Draw those of one picture, where it has so many detections; of films none."""
        if frame.film is None and self.index < len(found):
            maps = draw_score_maps(explain(self.detector, frame.image, self.index))
            write_image(self.folder / f"{frame.stem}_score_maps_{self.index}.png", maps)

    def close(self) -> None:
        """Nothing is left to do."""
