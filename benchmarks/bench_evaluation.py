"""Whole evaluations: COCO's size beside pycocotools and faster-coco-eval, VOC's size alone.

    OMP_NUM_THREADS=1 python benchmarks/bench_evaluation.py     # minutes, mostly pycocotools'

Ours is timed from the tensors of a detector to all figures of all classes, checks of every picture
and the indexing of the ground truth included; the others from a list of results in memory, their
index of the ground truth made before. The figures must be the same before anything is timed.
"""

import contextlib
import io
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import interleave, report, rows_of

from rfcn.evaluation.coco import COCOEvaluator, COCOTruth
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target

DETECTIONS = 100
"""A picture."""
OBJECTS = {"COCO": 7.3, "VOC": 2.9}
"""A picture, on average."""
LOADS = (("COCO", 5000, 80), ("VOC", 4952, 20))
ROUNDS = {"COCO": 2, "VOC": 5}


def random_set(
    pictures: int, classes: int, objects: float
) -> tuple[list[Target], list[Detections]]:
    """Ground truth, and detections that are shifted copies of it, three fifths of the right class,
    most of them with low scores: three decimals, so that many are tied."""
    random = np.random.default_rng(0)
    truths, found = [], []
    for _ in range(pictures):
        count = max(1, random.poisson(objects))
        sides = np.exp(random.uniform(np.log(8), np.log(300), (count, 2)))
        corners = random.uniform(0, 1, (count, 2)) * (np.array([640, 480]) - sides)
        labels = random.integers(1, classes + 1, count)
        truth = np.concatenate([corners, corners + sides], axis=1)
        crowd = random.random(count) < 0.01
        truths.append(
            Target(
                torch.from_numpy(truth).float(), torch.from_numpy(labels), torch.from_numpy(crowd)
            )
        )
        source = random.integers(0, count, DETECTIONS)
        shift = random.normal(0, 0.15, (DETECTIONS, 4))
        lows = corners[source] + shift[:, :2] * sides[source]
        boxes = np.concatenate([lows, lows + sides[source] * np.exp(shift[:, 2:])], axis=1)
        right = random.random(DETECTIONS) < 0.6
        guesses = np.where(right, labels[source], random.integers(1, classes + 1, DETECTIONS))
        scores = np.sort(random.random(DETECTIONS) ** 3)[::-1].round(3)
        found.append(
            Detections(
                torch.from_numpy(boxes).float(),
                torch.from_numpy(scores.copy()).float(),
                torch.from_numpy(guesses),
            )
        )
    return truths, found


def bench(metric: str, pictures: int, classes: int) -> list[dict[str, object]]:
    """One row: the set, and the time of each candidate."""
    truths, found = random_set(pictures, classes, OBJECTS[metric])
    names = [f"class {label}" for label in range(1, classes + 1)]
    ids = [str(number) for number in range(pictures)]

    def ours() -> Any:
        if metric == "VOC":
            evaluator: Any = VOCEvaluator(dict(zip(ids, truths, strict=True)), names)
        else:
            written = {
                id_: COCOTruth.from_target(one) for id_, one in zip(ids, truths, strict=True)
            }
            evaluator = COCOEvaluator(written, names)
        evaluator.update(ids, found)
        return evaluator.compute()

    candidates: dict[str, Callable[[], Any]] = {"rfcn": ours}
    if metric == "COCO":
        candidates |= rivals(truths, found, classes)
        figures = ours().figures().values()
        expected = [-1 if one is None else one for one in figures]
        for name in list(candidates)[1:]:
            assert np.allclose(candidates[name](), expected, rtol=0, atol=1e-12), name
    row: dict[str, object] = {
        "metric": metric,
        "pictures": pictures,
        "classes": classes,
        "detections": pictures * DETECTIONS,
        "peak of rfcn, MB": peak_mb(ours),
    }
    times = interleave(candidates, ROUNDS[metric])
    for name in list(candidates)[1:]:
        ratio = times[name]["cpu_min_ms"] / times["rfcn"]["cpu_min_ms"]
        row[f"{name}, processor time of rfcn's"] = f"{ratio:.1f}×"
    return [{**row, "ms": times}]


def rivals(
    truths: list[Target], found: list[Detections], classes: int
) -> dict[str, Callable[[], Any]]:
    """pycocotools and faster-coco-eval: from results to the twelve figures."""
    from faster_coco_eval import COCO as FasterCOCO  # noqa: N811
    from faster_coco_eval import COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def score(make_index: Any, make_evaluation: Any) -> Callable[[], Any]:
        with contextlib.redirect_stdout(io.StringIO()):
            index = make_index()
            index.dataset = annotations(truths, classes)
            index.createIndex()
        results = results_of(found)

        def run() -> Any:
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = make_evaluation(index, index.loadRes(results), "bbox")
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            return evaluation.stats[:12]

        return run

    return {
        "pycocotools": score(COCO, COCOeval),
        "faster-coco-eval": score(FasterCOCO, COCOeval_faster),
    }


def annotations(truths: list[Target], classes: int) -> dict[str, Any]:
    """Ground truth as COCO's files have it."""
    rows = []
    for picture, target in enumerate(truths):
        truth = COCOTruth.from_target(target)
        columns = (truth.boxes, truth.labels, truth.areas, truth.crowd)
        for box, label, area, crowd in zip(*(one.tolist() for one in columns), strict=True):
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": picture,
                    "category_id": label,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
    return {
        "images": [{"id": number} for number in range(len(truths))],
        "categories": [{"id": label, "name": str(label)} for label in range(1, classes + 1)],
        "annotations": rows,
    }


def results_of(found: list[Detections]) -> list[dict[str, Any]]:
    """Detections as COCO's list of results."""
    rows = []
    for picture, one in enumerate(found):
        boxes = one.boxes.double()
        boxes[:, 2:] -= boxes[:, :2]
        columns = (boxes, one.labels, one.scores.double())
        for box, label, score in zip(*(column.tolist() for column in columns), strict=True):
            rows.append({"image_id": picture, "category_id": label, "bbox": box, "score": score})
    return rows


def peak_mb(run: Callable[[], object]) -> int:
    """Memory of Python's and NumPy's that a run has at once at most, in MB."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 1e6)


if __name__ == "__main__":
    start = time.perf_counter()
    report("evaluation", rows_of(bench, LOADS))
    print(f"{time.perf_counter() - start:.0f} s in all")
