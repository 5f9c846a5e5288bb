"""COCO's metric: every figure held against pycocotools, bit by bit; the rows E of the faults."""

import json

import numpy as np
import pytest
import torch

from rfcn.errors import ConfigError, DataError
from rfcn.evaluation.coco import COCOEvaluator, COCOTruth, id_order
from rfcn.evaluation.result import Headline
from rfcn.evaluation.submission import Naming, save_coco_results
from rfcn.structures import Detections

FIGURES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
SETS = 50


def truth_of(boxes, labels, *, crowd=None, areas=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return COCOTruth(
        boxes=boxes,
        labels=np.array(labels, dtype=np.int64),
        areas=boxes[:, 2:].prod(axis=1) if areas is None else np.array(areas, dtype=np.float64),
        crowd=np.zeros(len(boxes), dtype=bool) if crowd is None else np.array(crowd),
    )


def score(truths, found, names=("cat", "dog", "cow"), **options):
    evaluator = COCOEvaluator(truths, names, **options)
    evaluator.update(list(found), list(found.values()))
    return evaluator.compute()


# ------------------------------------------------------------------------- held against pycocotools


@pytest.mark.parametrize("seed", range(SETS))
def test_all_figures_are_those_of_pycocotools_to_the_last_bit(coco_set, score_coco, official, seed):
    truth, results = coco_set(seed)
    theirs = official(truth, results)
    ours = score_coco(truth, results)
    expected = [None if one == -1 else one for one in theirs.stats]
    assert list(ours.figures()) == list(FIGURES)
    assert list(ours.figures().values()) == expected
    precision = theirs.eval["precision"][..., 0, -1]  # [T, R, K]
    columns = sorted(one["id"] for one in truth["categories"])
    for one in ours.classes:
        mine = precision[:, :, columns.index(int(one.name.split()[1]))]
        assert one.figures()["AP"] == (None if mine[0, 0] == -1 else np.mean(mine))
        assert one.figures()["AP50"] == (None if mine[0, 0] == -1 else np.mean(mine[0]))


def test_the_sets_hold_what_is_hard(coco_set):
    sets = [coco_set(seed) for seed in range(SETS)]
    truths, results = zip(*sets, strict=True)
    annotations = [one["annotations"] for one in truths]
    assert any(not one for one in annotations)
    assert sum(not one for one in results) <= 5
    assert sum(any(a["iscrowd"] for a in one) for one in annotations) > 20
    most = [
        max((sum(r["image_id"] == i["id"] and r["category_id"] == c["id"] for r in found)
             for i in truth["images"] for c in truth["categories"]), default=0)
        for truth, found in sets
    ]  # fmt: skip
    assert sum(one > 100 for one in most) > 5


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tool", ["pycocotools", "faster-coco-eval"])
def test_the_tools_of_others_give_the_same(coco_set, score_coco, seed, tool):
    truth, results = coco_set(seed)
    ours, theirs = score_coco(truth, results), score_coco(truth, results, tool=tool)
    # faster-coco-eval leaves out a tiny number in a denominator
    bound = 0 if tool == "pycocotools" else 1e-15
    assert ours.summary() == pytest.approx(theirs.summary(), abs=bound, rel=0)
    assert ours.summary().keys() == theirs.summary().keys()


def test_figures_of_the_reference_set(data_folder, score_coco):
    folder = data_folder / "eval_reference" / "tests" / "test_coco_eval"
    truth = json.loads((folder / "gts" / "sampled_gts_bbox_area.json").read_text())
    results = json.loads((folder / "cocoapi_results.json").read_text())
    published = (
        *(0.503647, 0.696973, 0.571667, 0.593252, 0.557991, 0.489363),
        *(0.386813, 0.593680, 0.595353, 0.654764, 0.603130, 0.553744),
    )
    figures = score_coco(truth, results).figures()
    assert figures == pytest.approx(dict(zip(FIGURES, published, strict=True)), abs=1e-6)


# --------------------------------------------------------------------------------------- the faults


@pytest.mark.parametrize("tool", ["rfcn", "pycocotools"])
def test_e1_no_predictions_give_zero_and_a_sentence(tool):
    truths = {"a": truth_of([[0, 0, 9, 9]], [1]), "b": truth_of([], [])}
    for found in ({}, {"b": Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())}):
        result = score(truths, found, tool=tool)
        assert result.headline == Headline("AP", 0)
        assert result.figures()["AR100"] == 0
        assert result.figures()["AP_large"] is None
        assert result.pictures_missing == 2 - len(found)
        assert result.diagnosis.startswith("The AP50 is 0.0000. There are no detections at all.")


def test_e2_ground_truth_as_predictions_is_one(coco_set, score_coco):
    for seed in range(20):
        truth, _ = coco_set(seed)
        results = [{**one, "score": 1.0} for one in truth["annotations"]]
        figures = score_coco(truth, results, max_detections=(1, 10, 200)).figures()
        known = {name: one for name, one in figures.items() if name not in ("AR1", "AR10")}
        for value in known.values():
            assert value is None or value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("tool", ["rfcn", "pycocotools"])
def test_e3_a_class_without_ground_truth_is_left_out_of_the_mean(detections, tool):
    truths = {"a": truth_of([[0, 0, 9, 9], [20, 20, 20, 20]], [1, 2])}
    found = {"a": detections([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], [1, 3])}
    result = score(truths, found, tool=tool)
    assert [one.figures()["AP"] for one in result.classes] == [pytest.approx(1), 0, None]
    assert [one.detections for one in result.classes] == [1, 0, 1]
    assert result.headline.value == pytest.approx(0.5)
    assert "AP/cow" not in result.summary()


@pytest.mark.parametrize("tool", ["rfcn", "pycocotools"])
@pytest.mark.parametrize("truths", [{}, {"a": truth_of([], [])}])
def test_e3_without_any_ground_truth_nothing_is_available(detections, tool, truths):
    found = {name: detections([[0, 0, 1, 1]], [0.5], [1]) for name in truths}
    result = score(truths, found, tool=tool)
    assert set(result.figures().values()) == {None}
    assert result.summary() == {}
    assert result.diagnosis is None
    assert result.mean_ap(0.5) is None
    assert [len(one.curves[0].recall) for one in result.classes] == [0, 0, 0]


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (truth_of([[0, 0, float("nan"), 5]], [1]), "'a' is NaN or infinite"),
        (truth_of([[0, 0, 5, 5]], [1], areas=[float("inf")]), "area in .*'a' is NaN or infinite"),
        (truth_of([[9, 9, -5, 5]], [1]), "negative side"),
        (truth_of([[0, 0, 5, 5]], [4]), "not one of the 3 classes"),
    ],
)
def test_e4_impossible_ground_truth_is_refused(truth, words):
    with pytest.raises(DataError, match=words):
        COCOEvaluator({"a": truth}, ("cat", "dog", "cow"))


def test_e4_impossible_predictions_are_refused_before_scoring(detections):
    evaluator = COCOEvaluator({"a": truth_of([[0, 0, 9, 9]], [1])}, ("cat",))
    with pytest.raises(DataError, match=r"score in .*'a' is NaN"):
        evaluator.update(["a"], [detections([[0, 0, 9, 9]], [float("nan")], [1])])
    assert not evaluator.detections


def test_e5_any_number_of_detections_may_lie_in_a_crowd(detections):
    """The second and third lie inside the crowd wholly, the fourth by a third only."""
    truths = {"a": truth_of([[0, 0, 10, 10], [50, 0, 90, 90]], [1, 1], crowd=[False, True])}
    boxes = [[0, 0, 10, 10], [50, 0, 60, 10], [60, 0, 70, 10], [30, 0, 60, 10]]
    found = detections(boxes, [0.6, 0.9, 0.8, 0.5], [1] * 4)
    result = score(truths, {"a": found})
    assert result.figures()["AP"] == pytest.approx(1)
    # a wrong one before the right one halves the precision
    result = score(truths, {"a": detections(boxes, [0.6, 0.9, 0.8, 0.7], [1] * 4)})
    assert result.figures()["AP"] == pytest.approx(0.5)
    (cat, *_) = result.classes
    assert (cat.truths, cat.difficult, cat.pictures) == (1, 1, 1)


def test_e5_difficult_objects_of_other_data_are_taken_for_crowds(target, detections):
    truth = COCOTruth.from_target(target([[0, 0, 10, 20], [5, 5, 8, 9]], [1, 2], [False, True]))
    assert truth.boxes.tolist() == [[0, 0, 10, 20], [5, 5, 3, 4]]
    assert truth.areas.tolist() == [200, 12]
    assert truth.crowd.tolist() == [False, True]
    found = detections([[5, 5, 8, 9], [0, 0, 10, 20]], [0.9, 0.5], [2, 1])
    result = score({"a": truth}, {"a": found})
    assert [one.figures()["AP"] for one in result.classes] == [pytest.approx(1), None, None]


def test_e6_of_tied_scores_the_picture_of_the_lower_id_comes_first(detections):
    wrong, right = (
        detections([[50, 50, 60, 60]], [0.5], [1]),
        detections([[0, 0, 9, 9]], [0.5], [1]),
    )
    square = truth_of([[0, 0, 9, 9]], [1])
    truths = {"1": square, "2": square}
    first = score(truths, {"2": wrong, "1": right}).figures()["AP50"]
    second = score(truths, {"1": wrong, "2": right}).figures()["AP50"]
    assert (first, second) == (pytest.approx(51 / 101), pytest.approx(51 / 101 / 2))


@pytest.mark.parametrize("limits", [(1, 2, 3), (1, 10, 300), (2, 5, 130)])
def test_e7_the_headline_is_that_of_the_last_limit(coco_set, score_coco, official, limits):
    """pycocotools' summary looks for 100 and gives -1; its table of precision is right."""
    for seed in range(8):
        truth, results = coco_set(seed)
        theirs = official(truth, results, limits)
        result = score_coco(truth, results, max_detections=limits)
        precision, recall = theirs.eval["precision"][..., 0, -1], theirs.eval["recall"][..., 0, :]
        if (precision == -1).all():
            assert result.headline.value is None
            continue
        assert result.headline.value == np.mean(precision[precision > -1])
        for place, limit in enumerate(limits):
            values = recall[..., place]
            assert result.figures()[f"AR{limit}"] == np.mean(values[values > -1])


@pytest.mark.parametrize("limits", [(1, 10), (10, 1, 100), (0, 1, 2), (1, 1, 100)])
def test_e7_limits_that_do_not_rise_are_refused(limits):
    with pytest.raises(ConfigError, match=r"eval\.max_detections"):
        COCOEvaluator({}, ("cat",), max_detections=limits)


def test_e9_shifted_labels_are_named(detections):
    boxes = [[0, 0, 30, 30], [40, 40, 50, 50]]
    truths = {"a": truth_of(boxes, [1, 2])}
    found = detections([[0, 0, 30, 30], [40, 40, 90, 90]], [0.9, 0.8], [2, 3])
    diagnosis = score(truths, {"a": found}).diagnosis
    assert "The AP50 is 0.0000. With every label lowered by one it would be high" in diagnosis


def test_e9_another_scale_is_named(detections):
    truths = {str(n): truth_of([[10, 20, 60, 40]], [1]) for n in range(3)}
    found = detections([[20, 40, 140, 120]], [0.9], [1])
    diagnosis = score(truths, dict.fromkeys(truths, found)).diagnosis
    assert "Scaled by about 0.5 the boxes would be right" in diagnosis


# ----------------------------------------------------------------------------------------- the rest


def test_what_a_result_holds(detections):
    truths = {"a": truth_of([[0, 0, 50, 50], [60, 60, 20, 20]], [1, 1]), "b": truth_of([], [])}
    found = detections([[0, 0, 50, 50], [60, 60, 84, 84]], [0.9, 0.8], [1, 1])
    result = score(truths, {"a": found}, ("cat",))
    # the second overlaps by 400/576: enough at 0.5 .. 0.65
    half, third = 51 / 101, (1 + 0 * 51 / 101)
    assert result.mean_ap(0.65) == pytest.approx(third)
    assert result.mean_ap(0.7) == pytest.approx(half)
    assert result.figures()["AP75"] == result.mean_ap(0.75)
    assert result.figures()["AP"] == pytest.approx((4 + 6 * half) / 10)
    assert result.figures()["AR1"] == pytest.approx(0.5)
    assert result.summary()["AP50/cat"] == pytest.approx(1)
    (cat,) = result.classes
    assert [curve.iou_threshold for curve in cat.curves] == [0.5, 0.75]
    assert cat.curves[1].precision.tolist() == pytest.approx([1] * 51 + [0] * 50)
    assert cat.curves[0].scores[[0, 50, 51, 100]].tolist() == pytest.approx([0.9, 0.9, 0.8, 0.8])
    assert result.remarks() == [
        "AP_small 40.0, AP_medium 100.0, AP_large n/a",
        "AR1 50.0, AR10 70.0, AR100 70.0",
        "AR_small 40.0, AR_medium 100.0, AR_large n/a",
    ]
    with pytest.raises(ValueError, match="not in tuple"):
        result.mean_ap(0.3)


def test_numbers_come_before_texts():
    assert sorted(["b", 10, "a", 9], key=id_order) == [9, 10, "a", "b"]


@pytest.mark.parametrize("seed", [3, 4, 36])
def test_e8_pycocotools_finds_our_figures_in_our_file(
    coco_set, coco_evaluator, score_coco, official, tmp_path, seed
):
    """Of float32 boxes whose digits go on and on, as a detector gives them."""
    truth, results = coco_set(seed)
    categories = tuple(one["id"] for one in truth["categories"])
    pictures = {str(one["id"]): one["id"] for one in truth["images"]}
    naming = Naming(pictures, tuple(one["name"] for one in truth["categories"]), categories)
    found = {}
    for name, id_ in pictures.items():
        mine = [one for one in results if one["image_id"] == id_]
        boxes = torch.tensor([one["bbox"] for one in mine]).reshape(-1, 4) / 3
        boxes[:, 2:] += boxes[:, :2]
        found[name] = Detections(
            boxes * 3,
            torch.tensor([one["score"] for one in mine]),
            torch.tensor([categories.index(one["category_id"]) + 1 for one in mine]).long(),
        )
    written = json.loads(save_coco_results(found, naming, tmp_path / "results.json").read_text())
    ours = score_coco(truth, written)
    assert list(ours.figures().values()) == [
        None if one == -1 else one for one in official(truth, written).stats
    ]
    evaluator = coco_evaluator(truth)
    evaluator.update(list(found), list(found.values()))
    assert evaluator.compute().figures() == ours.figures()
