"""Detections in the files that the benchmarks themselves take, and back.

VOC: `comp4_det_SET_CLASS.txt`, a line a detection. COCO: one JSON list of results.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rfcn.errors import DataError
from rfcn.evaluation.detections_file import load_detections
from rfcn.filekind import read_json
from rfcn.structures import Detections

Id = int | str
Row = tuple[str, int, float, Sequence[float]]
"""Picture, label, score, corners (half-open)."""


@dataclass(frozen=True)
class Naming:
    """What the files of a benchmark call the pictures and the classes of a data set."""

    pictures: Mapping[str, Id]
    """By our ids, in the order of the pictures."""
    class_names: tuple[str, ...]
    category_ids: tuple[Id, ...]
    """In label order."""


# ------------------------------------------------------------------------------------------- COCO


def save_coco_results(detections: Mapping[str, Detections], naming: Naming, path: Path) -> Path:
    """Writes [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...].

    Every number has all its digits, so that COCO's own code finds our figures to the last one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for name, label, score, (x1, y1, x2, y2) in _rows(detections, naming):
            result = {
                "image_id": naming.pictures[name],
                "category_id": naming.category_ids[label - 1],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            file.write(separator + json.dumps(result, allow_nan=False))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")
    return path


def load_coco_results(path: Path, naming: Naming) -> dict[str, Detections]:
    """Detections by our ids, of float64, of a list as COCO's own code takes it, from anybody.

    Raises DataError when the file is not such a list, and for a result without its four parts, or
    of an unknown picture or category.
    """
    try:
        results = read_json(path)
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read as COCO results: {fault}") from None
    if not isinstance(results, list):
        raise DataError(f"{path}: is not a JSON list of COCO results.")
    pictures = {id_: name for name, id_ in naming.pictures.items()}
    label_of = {id_: label for label, id_ in enumerate(naming.category_ids, start=1)}

    def row(number: int) -> Row:
        one = results[number]
        try:
            picture, category = one["image_id"], one["category_id"]
            x, y, width, height = map(float, one["bbox"])
            score = float(one["score"])
            hash((picture, category))  # a list or an object is no id
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(
                f"{path}: result {number + 1} needs image_id, category_id, bbox (x, y, width, "
                f"height) and score ({type(fault).__name__}: {fault})."
            ) from None
        for kind, value, there in (
            ("image_id", picture, naming.pictures.values()),
            ("category_id", category, naming.category_ids),
        ):
            if value not in (pictures if kind == "image_id" else label_of):
                raise DataError(
                    f"{path}: result {number + 1} has the {kind} {value!r}, which the data do not "
                    f"have (theirs are like {next(iter(there), None)!r}, {len(there)} in all). "
                    "Results and data must be of the same set."
                )
        return pictures[picture], label_of[category], score, (x, y, x + width, y + height)

    return _by_picture(map(row, range(len(results))), naming)


# -------------------------------------------------------------------------------------------- VOC


def save_voc_results(
    detections: Mapping[str, Detections], naming: Naming, folder: Path, *, set_name: str
) -> list[Path]:
    """Writes `comp4_det_SET_CLASS.txt` of every class, as VOC's development kit reads them:
    `picture score left top right bottom`, counted from 1, the last column and row inside the box.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[list[str]] = [[] for _ in naming.class_names]
    for name, label, score, (x1, y1, x2, y2) in _rows(detections, naming):
        # half-open from 0 to inclusive from 1: the left and the top move, the right and bottom stay
        numbers = " ".join(map(repr, (score, x1 + 1, y1 + 1, x2, y2)))
        lines[label - 1].append(f"{naming.pictures[name]} {numbers}\n")
    paths = [folder / f"comp4_det_{set_name}_{name}.txt" for name in naming.class_names]
    for path, of_class in zip(paths, lines, strict=True):
        path.write_text("".join(of_class), encoding="utf-8")
    return paths


def load_voc_results(folder: Path, naming: Naming) -> dict[str, Detections]:
    """Detections by our ids, of float64, of a folder with comp4_det_SET_CLASS.txt.

    Raises DataError when not exactly one set has a file of every class, and for a line that is not
    a detection of a known picture.
    """
    pictures = {str(id_): name for name, id_ in naming.pictures.items()}
    stem = _stem_of(folder, naming.class_names)

    def rows() -> Iterator[Row]:
        for label, class_name in enumerate(naming.class_names, start=1):
            path = folder / f"{stem}_{class_name}.txt"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                words = line.split()
                try:
                    score, left, top, right, bottom = map(float, words[1:])
                    name = pictures[words[0]]
                except (KeyError, IndexError, ValueError):
                    raise DataError(
                        f"{path}:{number}: {line!r} is not `picture score left top right bottom` "
                        f"with one of the {len(pictures)} pictures of the data."
                    ) from None
                yield name, label, score, (left - 1, top - 1, right, bottom)

    return _by_picture(rows(), naming)


def _stem_of(folder: Path, class_names: Sequence[str]) -> str:
    """`comp4_det_SET` of the one set with a file of every class."""
    there = [path.stem for path in folder.glob("comp*_det_*.txt")]
    stems = [
        {stem.removesuffix(f"_{name}") for stem in there if stem.endswith(f"_{name}")}
        for name in class_names
    ]
    whole = sorted(set.intersection(*stems))
    if len(whole) == 1:
        return whole[0]
    lacking = [name for name, found in zip(class_names, stems, strict=True) if not found]
    raise DataError(
        f"{folder}: needs a file comp4_det_SET_CLASS.txt of every class, of one set (an empty one "
        f"where nothing was found). Sets with all of them: {', '.join(whole) or 'none'}; classes "
        f"without a file: {', '.join(lacking) or 'none'}."
    )


# ------------------------------------------------------------------------------------------- any


def load_any(path: Path, naming: Naming) -> dict[str, Detections]:
    """Detections by our ids, of whatever is there: our detections.json, COCO results, or a folder
    of VOC's files. Raises DataError when it cannot be read or is of other data."""
    if path.is_dir():
        return load_voc_results(path, naming)
    if _first_sign(path) == "[":
        return load_coco_results(path, naming)
    return load_detections(path, naming.class_names)


def _first_sign(path: Path) -> str:
    """The first character that is not a space; none where the file cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(1000).lstrip()[:1]
    except (OSError, ValueError):
        return ""


def _rows(detections: Mapping[str, Detections], naming: Naming) -> Iterator[Row]:
    """Picture by picture in the order of the data, the corners exact."""
    for name in naming.pictures:
        found = detections.get(name)
        if found is not None:
            columns = (found.labels, found.scores.double(), found.boxes.double())
            for label, score, box in zip(*(one.tolist() for one in columns), strict=True):
                yield name, label, score, box


def _by_picture(rows: Iterable[Row], naming: Naming) -> dict[str, Detections]:
    """Of every picture: one without a row is one in which nothing was found."""
    found: dict[str, list[Row]] = {name: [] for name in naming.pictures}
    for row in rows:
        found[row[0]].append(row)
    return {
        name: Detections(
            boxes=torch.tensor([box for *_, box in mine], dtype=torch.float64).reshape(-1, 4),
            scores=torch.tensor([score for _, _, score, _ in mine], dtype=torch.float64),
            labels=torch.tensor([label for _, label, _, _ in mine], dtype=torch.int64),
        )
        for name, mine in found.items()
    }
