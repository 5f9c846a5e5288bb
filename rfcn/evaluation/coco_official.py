"""COCO's figures by the code of others: pycocotools, which defines them, and faster-coco-eval."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rfcn.errors import MachineError
from rfcn.evaluation.coco_matching import AREAS, COCODetections, COCOFigures, COCOTruths

Official = Literal["pycocotools", "faster-coco-eval"]


def official_figures(
    detections: COCODetections,
    truths: COCOTruths,
    *,
    classes: int,
    max_detections: Sequence[int] = (1, 10, 100),
    tool: Official = "pycocotools",
) -> COCOFigures:
    """What `coco_figures` gives, by another's code, whatever that code says of empty sets.

    Raises:
        MachineError: the package is not installed.
    """
    pictures = int(max([*truths.pictures, *detections.pictures], default=-1)) + 1
    found, true = _annotations(detections), _annotations(truths)
    for annotation, crowd, area in zip(true, truths.crowd, truths.areas, strict=True):
        annotation |= {"iscrowd": int(crowd), "area": float(area)}
    for annotation, score in zip(found, detections.scores, strict=True):
        width, height = annotation["bbox"][2:]
        annotation |= {"iscrowd": 0, "area": width * height, "score": float(score)}
    make_index, make_evaluation = _import(tool)
    with contextlib.redirect_stdout(io.StringIO()):
        indices = []
        for annotations in (true, found):
            index = make_index()
            index.dataset = {
                "images": [{"id": number} for number in range(pictures)],
                "categories": [{"id": number, "name": str(number)} for number in range(classes)],
                "annotations": annotations,
            }
            index.createIndex()
            indices.append(index)
        evaluation = make_evaluation(*indices, "bbox")
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    required = np.zeros((classes, len(AREAS)), dtype=np.int64)
    small = truths.areas[:, None] < AREAS[:, 0]
    large = truths.areas[:, None] > AREAS[:, 1]
    np.add.at(required, truths.labels, ~(small | large | truths.crowd[:, None]))
    recall = _absent_is_nan(evaluation.eval["recall"])
    precision = _absent_is_nan(evaluation.eval["precision"])[..., -1]
    scores = _absent_is_nan(evaluation.eval["scores"])[..., -1]
    return COCOFigures(precision, scores, recall, required)


def _annotations(objects: COCODetections | COCOTruths) -> list[dict[str, Any]]:
    """Numbered from 1: the tools take a match with number 0 for none."""
    return [
        {"id": number, "image_id": picture, "category_id": label, "bbox": box}
        for number, (picture, label, box) in enumerate(
            zip(
                objects.pictures.tolist(),
                objects.labels.tolist(),
                objects.boxes.tolist(),
                strict=True,
            ),
            start=1,
        )
    ]


def _absent_is_nan(values: np.ndarray) -> np.ndarray:
    return np.where(values == -1, np.nan, values)


def _import(tool: Official) -> tuple[Any, Any]:
    """The classes that index annotations and that score them."""
    try:
        if tool == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

            return COCO, COCOeval
        from faster_coco_eval import COCO as FasterCOCO  # noqa: N811
        from faster_coco_eval import COCOeval_faster

        return FasterCOCO, COCOeval_faster
    except ImportError as fault:
        raise MachineError(
            f"eval.coco_tool: {tool} is not installed here ({fault}). Install it (pip install "
            f"{tool}), or leave the setting out: rfcn's own code gives the same figures."
        ) from None
