"""Detections on disk as JSON, a line a picture: scored again, they give the same figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfcn.errors import DataError
from rfcn.filekind import read_json
from rfcn.structures import Detections

FORMAT = 1


def save_detections(
    detections: Mapping[str, Detections], class_names: Sequence[str], path: str | Path
) -> None:
    """Writes {"format": 1, "pictures": [{"id", "boxes", "scores", "labels"}, ...]}.

    Boxes are (x1, y1, x2, y2), half-open, in pixels of the original picture; labels are class
    names, so that the file does not depend on anybody's order of classes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": {FORMAT}, "pictures": [')
        for index, (name, found) in enumerate(detections.items()):
            row = {
                "id": name,
                "boxes": _shortest(found.boxes),
                "scores": _shortest(found.scores),
                "labels": [class_names[label - 1] for label in found.labels.tolist()],
            }
            file.write(",\n" if index else "\n")
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def load_detections(path: str | Path, class_names: Sequence[str]) -> dict[str, Detections]:
    """Reads what `save_detections` wrote, with labels 1..C in the order of `class_names`.

    Raises DataError when the file is missing, is not of this form, or names another class.
    """
    label_of = {name: label for label, name in enumerate(class_names, start=1)}
    detections = {}
    for row in _read_pictures(Path(path)):
        name = row.get("id") if isinstance(row, dict) else None
        if name is None or name in detections:
            problem = "has no id" if name is None else f"comes twice: {name!r}"
            raise DataError(f"{path}: a picture {problem}. Was the file edited?")
        try:
            detections[name] = _parse(row, label_of)
        except KeyError as error:
            raise DataError(
                f"{path}: picture {name!r} lacks or does not know {error}; the classes are "
                f"{', '.join(class_names)}."
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{path}: picture {name!r} needs boxes (four numbers each), scores and labels, "
                f"equally many: {error}"
            ) from error
    return detections


def _read_pictures(path: Path) -> list[Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a file of detections: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("pictures"), list):
        raise DataError(f"{path}: is not a file of detections (it has no list 'pictures').")
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path}: has format {content.get('format')!r}; this version reads {FORMAT}. Write the "
            "file again with this version, or read it with the one that wrote it."
        )
    return content["pictures"]


def _parse(row: dict[str, Any], label_of: Mapping[str, int]) -> Detections:
    labels = torch.tensor([label_of[name] for name in row["labels"]], dtype=torch.int64)
    count = len(labels)
    return Detections(
        boxes=torch.tensor(row["boxes"], dtype=torch.float32).reshape(count, 4),
        scores=torch.tensor(row["scores"], dtype=torch.float32).reshape(count),
        labels=labels,
    )


def _shortest(values: torch.Tensor) -> Any:
    """Nested lists of the shortest decimals that read back as the same float32: 0.1, not
    0.10000000149011612."""
    exact = values.detach().cpu().numpy().astype(np.float32)
    return exact.astype(str).astype(np.float64).tolist()
