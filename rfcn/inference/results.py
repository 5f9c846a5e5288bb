"""What was found in one picture, for people: names beside labels, drawn, written, filtered."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from rfcn.datasets.rules import FileRules
from rfcn.errors import ConfigError, DataError, MachineError
from rfcn.inference.pictures import PictureSource, read_picture
from rfcn.structures import Detections
from rfcn.visualization.draw import draw_boxes
from rfcn.visualization.files import write_image

SURE = 0.5
"""Detections below it are not drawn where nobody asked for a score."""


class Detection(NamedTuple):
    """One object."""

    name: str
    label: int
    """1..C."""
    score: float
    """0..1."""
    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2), half-open, in pixels of the upright picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedDetections(Detections):
    """Detections with the names of their classes and the picture they were found in, best first.

    `len`, iteration and `found[3]` give one `Detection` after the other; `found[mask]`,
    `found[:10]`, `above` and `of` choose some of them.
    """

    class_names: tuple[str, ...]
    """Label 1 is the first."""
    size: tuple[int, int]
    """(height, width) of the upright picture."""
    source: PictureSource
    """What was given: it is read again to be drawn, and never changed."""
    rules: FileRules
    """How it is read."""
    shown_from: float = SURE
    """The score from which on `draw` and `save` show what was found."""

    @property
    def names(self) -> list[str]:
        """The class of each, as `labels` has it, by name."""
        return [self.class_names[label - 1] for label in self.labels.tolist()]

    @property
    def path(self) -> Path | None:
        """The file of the picture, where it came from one."""
        return Path(self.source) if isinstance(self.source, str | Path) else None

    @property
    def image(self) -> np.ndarray:
        """The picture, uint8 RGB [H, W, 3]."""
        return read_picture(self.source, self.rules)

    def __iter__(self) -> Iterator[Detection]:
        columns = (self.labels.tolist(), self.scores.tolist(), self.boxes.tolist())
        for label, score, box in zip(*columns, strict=True):
            yield Detection(self.class_names[label - 1], label, score, tuple(box))

    @overload
    def __getitem__(self, which: int) -> Detection: ...

    @overload
    def __getitem__(
        self, which: slice | Tensor | np.ndarray | Sequence[int]
    ) -> "NamedDetections": ...

    def __getitem__(
        self, which: int | slice | Tensor | np.ndarray | Sequence[int]
    ) -> "Detection | NamedDetections":
        """One by its place; or those of a slice, of a mask [D] bool, or of places."""
        if isinstance(which, int):
            return next(iter(self.rows(torch.tensor([range(len(self))[which]]))))
        return self.rows(which if isinstance(which, slice) else torch.as_tensor(which))

    def of(self, *names: str) -> "NamedDetections":
        """Those of these classes.

        Raises:
            ConfigError: there is no class of that name.
        """
        wanted = torch.tensor(labels_of(names, self.class_names), dtype=torch.int64)
        return self.rows(torch.isin(self.labels, wanted.to(self.labels.device)))

    def draw(self, score: float | None = None) -> np.ndarray:
        """A copy of the picture, uint8 RGB [H, W, 3], with what was found from `score` on: without
        one, from the score that `predict` was asked for, else from 0.5."""
        shown = self.above(self.shown_from if score is None else score).to("cpu")
        return draw_boxes(
            self.image, shown.boxes, shown.labels, self.class_names, scores=shown.scores
        )

    def save(self, path: str | Path, score: float | None = None) -> Path:
        """Write what `draw` gives, as the suffix of `path` says (.jpg, .png, ...).

        Raises:
            DataError: it would overwrite the picture itself.
        """
        path = Path(path)
        if self.path is not None and path.resolve() == self.path.expanduser().resolve():
            raise DataError(f"{path} is the picture itself. Save what was drawn elsewhere.")
        write_image(path, self.draw(score))
        return path

    def to_dict(self) -> dict[str, Any]:
        """{"file" where there is one, "width", "height", "detections": [{"label": its name,
        "label_id", "score", "box": [x1, y1, x2, y2]}, ...]}: JSON values, rounded to hundredths of
        a pixel and millionths of a score."""
        file = {} if self.path is None else {"file": str(self.path)}
        return {
            **file,
            "width": self.size[1],
            "height": self.size[0],
            "detections": [
                {
                    "label": one.name,
                    "label_id": one.label,
                    "score": round(one.score, 6),
                    "box": [round(side, 2) for side in one.box],
                }
                for one in self
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`; `class_id` counts from 0, as its data sets do.

        Raises:
            MachineError: supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise MachineError(
                "to_supervision() needs the package supervision: pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes.cpu().numpy(),
            confidence=self.scores.cpu().numpy(),
            class_id=self.labels.cpu().numpy() - 1,
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def _repr_jpeg_(self) -> bytes:
        """What a notebook shows."""
        from io import BytesIO

        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(self.draw()).save(buffer, format="JPEG", quality=90)
        return buffer.getvalue()


def labels_of(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The labels of classes by their names.

    Raises:
        ConfigError: there is no class of that name.
    """
    for name in names:
        if name not in class_names:
            near = get_close_matches(name, class_names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ConfigError(
                f"no class '{name}'.{hint} The detector knows: {', '.join(class_names)}."
            )
    return [class_names.index(name) + 1 for name in names]
