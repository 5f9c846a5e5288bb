"""Hand-made pictures, and a definition of VOC's average precision that shares no code with ours."""

import contextlib
import copy
import importlib.util
import io
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from rfcn.evaluation.coco import COCOEvaluator, COCOResult, COCOTruth
from rfcn.structures import Detections, Target

Boxes = Sequence[Sequence[float]]


def make_target(boxes: Boxes, labels: Sequence[int], difficult: Sequence[bool] = ()) -> Target:
    return Target(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        difficult=torch.tensor(list(difficult) or [False] * len(labels), dtype=torch.bool),
    )


def make_detections(boxes: Boxes, scores: Sequence[float], labels: Sequence[int]) -> Detections:
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
    )


def slow_iou(a: Sequence[float], b: Sequence[float], extra: int = 0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + extra) * (a[3] - a[1] + extra)
    area_b = (b[2] - b[0] + extra) * (b[3] - b[1] + extra)
    return width * height / (area_a + area_b - width * height)


def slow_verdicts(
    truths: dict[str, Target], found: dict[str, Detections], label: int, threshold: float
) -> tuple[list[bool], int]:
    """Right or wrong for each detection that counts, best first; and how many must be found."""
    queue = []
    for number, name in enumerate(truths):
        if name not in found:
            continue
        rows = zip(
            found[name].boxes.tolist(),
            found[name].scores.tolist(),
            found[name].labels.tolist(),
            strict=True,
        )
        for place, (box, score, its_label) in enumerate(rows):
            if its_label == label:
                queue.append((-score, number, place, name, box))
    used: set[tuple[str, int]] = set()
    verdicts = []
    for _, _, _, name, box in sorted(queue):
        target = truths[name]
        best, best_index = 0.0, -1
        for index, truth in enumerate(target.boxes.tolist()):
            if int(target.labels[index]) == label and slow_iou(box, truth) > best:
                best, best_index = slow_iou(box, truth), index
        if best >= threshold and bool(target.difficult[best_index]):
            continue
        right = best >= threshold and (name, best_index) not in used
        if right:
            used.add((name, best_index))
        verdicts.append(right)
    required = sum(
        int(((target.labels == label) & ~target.difficult).sum()) for target in truths.values()
    )
    return verdicts, required


def exact_ap(verdicts: list[bool], required: int) -> tuple[Fraction, Fraction] | None:
    """Area and 11-point AP in exact fractions, straight from the words of the definition."""
    if required == 0:
        return None
    points = [
        (Fraction(sum(verdicts[: n + 1]), required), Fraction(sum(verdicts[: n + 1]), n + 1))
        for n in range(len(verdicts))
    ]

    def best_from(recall: Fraction) -> Fraction:
        return max((p for r, p in points if r >= recall), default=Fraction(0))

    area = sum((best_from(Fraction(n, required)) for n in range(1, required + 1)), Fraction(0))
    eleven = sum((best_from(Fraction(n, 10)) for n in range(11)), Fraction(0))
    return area / required, eleven / 11


@pytest.fixture
def target() -> Callable[..., Target]:
    return make_target


@pytest.fixture
def detections() -> Callable[..., Detections]:
    return make_detections


@pytest.fixture(scope="session")
def slow_ap() -> Callable[..., tuple[Fraction, Fraction] | None]:
    def score(
        truths: dict[str, Target], found: dict[str, Detections], label: int, threshold: float
    ) -> tuple[Fraction, Fraction] | None:
        return exact_ap(*slow_verdicts(truths, found, label, threshold))

    return score


@pytest.fixture(scope="session")
def slow() -> ModuleType:
    """The slow second versions of the analysis, in slow_analysis.py."""
    path = Path(__file__).parent / "slow_analysis.py"
    spec = importlib.util.spec_from_file_location("slow_analysis", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slow_analysis"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------ sets in COCO's form

Json = dict[str, Any]


def make_coco_set(seed: int) -> tuple[Json, list[Json]]:
    """Annotations and results, random but for what is hard: empty pictures, crowds, areas of their
    own and at the borders of the sizes, ties, exact copies, more than 100 detections of a class in
    a picture, classes without truth, and ids with gaps in no order."""
    random = np.random.default_rng(seed)
    pictures = random.permutation(500)[: random.integers(1, 5)].tolist()
    categories = (random.permutation(90)[: random.integers(1, 4)] + 1).tolist()
    annotations: list[Json] = []
    for picture in pictures:
        for _ in range(random.choice([0, 1, 5, 12])):
            box = [*random.integers(0, 40, 2).tolist(), *random.choice([9, 32, 40, 96, 99], 2)]
            box = [float(side) for side in box]
            area = box[2] * box[3] * random.choice([1, 1, 0.5])
            annotations.append(
                {
                    "id": 1000 + 7 * len(annotations),
                    "image_id": picture,
                    "category_id": int(random.choice(categories)),
                    "bbox": box,
                    "area": float(area),
                    "iscrowd": int(random.random() < 0.15),
                }
            )
    results: list[Json] = []
    for picture in pictures:
        mine = [one for one in annotations if one["image_id"] == picture]
        for _ in range(random.choice([0, 3, 20, 20, 130])):
            near = mine[random.integers(len(mine))] if mine and random.random() < 0.8 else None
            box = near["bbox"] if near else [5.0, 5.0, 50.0, 50.0]
            shift = random.integers(-4, 5, 4) * (random.random() < 0.7)
            category = near["category_id"] if near else int(random.choice(categories))
            score = random.choice([0.25, 0.5, 0.75]) if seed % 2 else np.float32(random.random())
            results.append(
                {
                    "image_id": picture,
                    "category_id": category,
                    "bbox": [max(float(side), 1.0) for side in np.array(box) + shift],
                    "score": float(score),
                }
            )
    truth = {
        "images": [{"id": one, "width": 200, "height": 200} for one in pictures],
        "categories": [{"id": one, "name": f"class {one}"} for one in categories],
        "annotations": annotations,
    }
    return truth, results


@pytest.fixture(scope="session")
def coco_set() -> Callable[[int], tuple[Json, list[Json]]]:
    return make_coco_set


def make_coco_evaluator(truth: Json, **options: Any) -> COCOEvaluator:
    """The evaluator of a set in COCO's form; labels in the order of its categories."""
    categories = [one["id"] for one in truth["categories"]]
    label_of = {id_: label for label, id_ in enumerate(categories, start=1)}
    pictures = [one["id"] for one in truth["images"]]
    truths = {}
    for picture in sorted(pictures):
        mine = [one for one in truth["annotations"] if one["image_id"] == picture]
        truths[str(picture)] = COCOTruth(
            boxes=np.array([one["bbox"] for one in mine], dtype=np.float64).reshape(-1, 4),
            labels=np.array([label_of[one["category_id"]] for one in mine], dtype=np.int64),
            areas=np.array([one["area"] for one in mine], dtype=np.float64),
            crowd=np.array([one["iscrowd"] for one in mine], dtype=bool),
        )
    names = [one["name"] for one in truth["categories"]]
    return COCOEvaluator(truths, names, category_ids=categories, **options)


def feed(evaluator: COCOEvaluator, results: list[Json], categories: list[int]) -> None:
    """Hands results in COCO's form over, picture by picture, in any order."""
    for picture in dict.fromkeys(one["image_id"] for one in results):
        mine = [one for one in results if one["image_id"] == picture]
        boxes = torch.tensor([one["bbox"] for one in mine], dtype=torch.float64)
        boxes[:, 2:] += boxes[:, :2]
        labels = [categories.index(one["category_id"]) + 1 for one in mine]
        scores = torch.tensor([one["score"] for one in mine], dtype=torch.float64)
        evaluator.update([str(picture)], [Detections(boxes, scores, torch.tensor(labels))])


@pytest.fixture(scope="session")
def coco_evaluator() -> Callable[..., COCOEvaluator]:
    return make_coco_evaluator


@pytest.fixture(scope="session")
def score_coco() -> Callable[..., COCOResult]:
    """Our result of a set in COCO's form."""

    def score(truth: Json, results: list[Json], **options: Any) -> COCOResult:
        evaluator = make_coco_evaluator(truth, **options)
        feed(evaluator, results, [one["id"] for one in truth["categories"]])
        return evaluator.compute()

    return score


def make_official(truth: Json, results: list[Json], max_detections: Sequence[int]) -> Any:
    """pycocotools' own evaluation of files, summarised where it can be."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = truth
        index.createIndex()
        # an empty list crashes loadRes: an index of nothing stands for it
        found = index.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluation = COCOeval(index, found, "bbox")
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.fixture(scope="session")
def official() -> Callable[..., Any]:
    def evaluate(
        truth: Json, results: list[Json], max_detections: Sequence[int] = (1, 10, 100)
    ) -> Any:
        return make_official(truth, results, max_detections)

    return evaluate
