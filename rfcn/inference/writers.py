"""What was found, written down: annotated pictures and one JSON file."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rfcn.structures import Detections


def as_json(
    detections: Detections, class_names: Sequence[str], *, file: Path, size: tuple[int, int]
) -> dict[str, Any]:
    """What was found in one picture, as JSON values.

    Boxes are (x1, y1, x2, y2), half-open, in pixels of the upright picture of `size` (height,
    width).
    """
    rows = zip(
        detections.labels.tolist(),
        detections.scores.tolist(),
        detections.boxes.tolist(),
        strict=True,
    )
    return {
        "file": str(file),
        "width": size[1],
        "height": size[0],
        "detections": [
            {
                "label": class_names[label - 1],
                "label_id": label,
                "score": round(score, 6),
                "box": [round(side, 2) for side in box],
            }
            for label, score, box in rows
        ],
    }


def write_json(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write the records of `as_json`, one a line inside a JSON list."""
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def name_outputs(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """Where the annotated copy of each picture goes: its name in `folder`, as JPEG.

    Pictures of one name from several folders, or `a.jpg` beside `a.png`, get numbers, and no name
    leads back to an input.
    """
    taken = {picture.resolve() for picture in pictures}
    names = []
    for picture in pictures:
        path, number = folder / f"{picture.stem}.jpg", 1
        while path.resolve() in taken:
            number += 1
            path = folder / f"{picture.stem}_{number}.jpg"
        taken.add(path.resolve())
        names.append(path)
    return names
