"""Hand-made pictures, and a definition of VOC's average precision that shares no code with ours."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
import torch

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
