"""Both metrics keep to the one contract that reports and runs know."""

import pytest

from rfcn.evaluation.coco import COCOEvaluator, COCOTruth
from rfcn.evaluation.result import Headline, Result
from rfcn.evaluation.voc import VOCEvaluator


def voc(truths, names):
    return VOCEvaluator(truths, names)


def coco(truths, names):
    written = {name: COCOTruth.from_target(one) for name, one in truths.items()}
    return COCOEvaluator(written, names)


@pytest.mark.parametrize(("make", "metric"), [(voc, "voc"), (coco, "coco")])
def test_a_result_keeps_its_contract(make, metric, target, detections):
    evaluator = make({"a": target([[0, 0, 9, 9]], [1]), "b": target([], [])}, ("cat", "dog"))
    evaluator.update(["a"], [detections([[0, 0, 9, 9]], [0.9], [1])])
    result: Result = evaluator.compute()
    assert result.metric == metric
    assert (result.pictures, result.pictures_missing, result.diagnosis) == (2, 1, None)
    assert isinstance(result.headline, Headline)
    assert result.headline.value == pytest.approx(1)
    assert result.summary()[result.headline.name] == result.headline.value
    assert result.mean_ap(0.5) == pytest.approx(1)
    assert 0.5 in result.iou_thresholds
    cat, dog = result.classes
    assert (cat.name, cat.pictures, cat.truths, cat.difficult, cat.detections) == (
        "cat",
        1,
        1,
        0,
        1,
    )
    assert list(cat.figures()) == list(dog.figures()) == list(result.figures())
    assert set(dog.figures().values()) == {None}
    assert 0 < result.columns <= len(result.figures())
    assert cat.curves[0].ap == pytest.approx(1)
    assert any("/" in name for name in result.summary())
    assert all(isinstance(line, str) for line in result.remarks())
