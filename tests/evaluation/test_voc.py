"""The evaluator: VOC's rules, an exact brute-force definition, and figures of independent tools."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfcn.errors import ConfigError, DataError
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target

NAMES = ("cat", "dog", "cow")


def score(truths, found, **options):
    evaluator = VOCEvaluator(truths, NAMES, **options)
    evaluator.update(list(found), list(found.values()))
    return evaluator.compute()


def as_detections(target: Target) -> Detections:
    return Detections(target.boxes, torch.ones(len(target.labels)), target.labels)


# ------------------------------------------------------------------------------ hand-made cases


def test_e1_no_predictions_give_zero_and_a_sentence(target):
    result = score({"a": target([[0, 0, 9, 9]], [1])}, {})
    assert result.mean_ap(0.5) == 0
    assert result.mean_ap_11pt(0.5) == 0
    assert result.pictures_missing == 1
    assert "no detections at all" in result.diagnosis


@pytest.mark.parametrize("devkit", [False, True])
def test_e2_ground_truth_as_predictions_is_exactly_one(target, devkit):
    generator = torch.Generator().manual_seed(1)
    truths = {}
    for number in range(37):
        corner = torch.rand(number % 7, 2, generator=generator) * 1000
        boxes = torch.cat([corner, corner + 1 + torch.rand(number % 7, 2, generator=generator)], 1)
        labels = torch.randint(1, 4, (number % 7,), generator=generator)
        hard = torch.rand(number % 7, generator=generator) < 0.3
        truths[str(number)] = Target(boxes, labels, hard)
    found = {name: as_detections(one) for name, one in truths.items()}
    result = score(truths, found, iou_thresholds=(0.5, 0.75, 1.0), devkit=devkit)
    for threshold in (0.5, 0.75, 1.0):
        assert result.mean_ap(threshold) == pytest.approx(1, abs=1e-12)
        assert result.mean_ap_11pt(threshold) == pytest.approx(1, abs=1e-12)
    assert result.diagnosis is None


def test_e3_a_class_without_ground_truth_is_left_out_of_the_mean(target, detections):
    truths = {"a": target([[0, 0, 9, 9], [20, 20, 40, 40]], [1, 2])}
    result = score(truths, {"a": detections([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], [1, 3])})
    cat, dog, cow = result.classes
    assert (cat.curves[0].ap, dog.curves[0].ap, cow.curves[0].ap) == (1, 0, None)
    assert cow.detections == 1
    assert result.classes_with_truth == 2
    assert result.mean_ap(0.5) == 0.5
    assert "AP@0.5/cow" not in result.summary()


def test_e3_without_any_ground_truth_there_is_no_mean(target, detections):
    result = score({"a": target([], [])}, {"a": detections([[0, 0, 1, 1]], [0.5], [1])})
    assert result.mean_ap(0.5) is None
    assert result.mean_ap_11pt(0.7) is None
    assert result.summary() == {}
    assert result.diagnosis is None


GOOD = ([[0, 0, 9, 9]], [0.5], [1])


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("b", GOOD, "'b' is not in the ground truth, which holds 1 pictures \\(such as 'a'\\)"),
        ("a", ([[0, 0, 9, 9]], [0.5], [4]), "label 4 .*'a'.* 1..3"),
        ("a", ([[0, 0, 9, 9]], [0.5], [0]), "label 0 .*background"),
        ("a", ([[0, 0, 9, 9]], [float("nan")], [1]), "score in .*'a' is NaN"),
        ("a", ([[0, 0, float("nan"), 9]], [0.5], [1]), "box in .*'a' is NaN"),
        ("a", ([[0, 0, float("inf"), 9]], [0.5], [1]), "box in .*'a' is NaN or infinite"),
        ("a", ([[10, 0, 9, 9]], [0.5], [1]), "negative side, \\[10.0, 0.0, 9.0, 9.0\\]"),
    ],
)
def test_e4_impossible_predictions_are_refused_before_scoring(
    target, detections, name, rows, words
):
    evaluator = VOCEvaluator({"a": target([[0, 0, 9, 9]], [1])}, NAMES)
    with pytest.raises(DataError, match=words):
        evaluator.update([name], [detections(*rows)])
    assert not evaluator.detections


def test_e4_a_picture_is_scored_once(target, detections):
    evaluator = VOCEvaluator({"a": target([[0, 0, 9, 9]], [1])}, NAMES)
    evaluator.update(["a"], [detections(*GOOD)])
    with pytest.raises(DataError, match="'a' came twice"):
        evaluator.update(["a"], [detections(*GOOD)])
    with pytest.raises(ValueError, match="2 pictures but detections of 1"):
        evaluator.update(["a", "b"], [detections(*GOOD)])


def test_e4_impossible_ground_truth_is_refused_too(target):
    with pytest.raises(DataError, match=r"ground truth of picture 'a'.*negative side"):
        VOCEvaluator({"a": target([[9, 0, 0, 9]], [1])}, NAMES)


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.1), (float("nan"),)])
def test_thresholds_out_of_range_are_refused(thresholds):
    with pytest.raises(ConfigError, match=r"eval\.iou_thresholds"):
        VOCEvaluator({}, NAMES, iou_thresholds=thresholds)


def test_e5_difficult_boxes_are_neither_required_nor_false(target, detections):
    truths = {"a": target([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1], [False, True])}
    boxes = [[50, 50, 60, 60], [50, 50, 60, 61], [0, 0, 10, 10]]
    result = score(truths, {"a": detections(boxes, [0.9, 0.8, 0.7], [1, 1, 1])})
    cat = result.classes[0]
    assert (cat.truths, cat.difficult, cat.detections, cat.pictures) == (1, 1, 3, 1)
    assert cat.curves[0].ap == 1
    assert cat.curves[0].precision.tolist() == [1]


def test_e5_a_class_with_difficult_boxes_only_is_not_available(target, detections):
    truths = {"a": target([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 2], [False, True])}
    result = score(truths, {"a": detections([[50, 50, 60, 60]], [0.9], [2])})
    assert result.classes[1].curves[0].ap is None
    assert result.mean_ap(0.5) == 0


def test_e6_duplicates_are_false_and_ties_keep_the_order_of_the_pictures(target, detections):
    """Best first: b right, b again, a wrong (tie with c), c right; 3 boxes to find."""
    square = [[0, 0, 10, 10]]
    truths = {name: target(square, [1]) for name in "abc"}
    found = {
        "c": detections(square, [0.5], [1]),
        "b": detections(square * 2, [0.9, 0.8], [1, 1]),
        "a": detections([[30, 30, 40, 40]], [0.5], [1]),
    }
    curve = score(truths, found).classes[0].curves[0]
    assert curve.recall.tolist() == [1 / 3, 1 / 3, 1 / 3, 2 / 3]
    assert curve.precision.tolist() == [1, 1 / 2, 1 / 3, 2 / 4]
    assert curve.ap == pytest.approx(1 / 3 * 1 + 1 / 3 * 0.5)
    assert curve.ap_11pt == pytest.approx((4 * 1 + 3 * 0.5) / 11)


def test_e6_both_figures_are_named_in_the_summary(target, detections):
    truths = {"a": target([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1])}
    result = score(truths, {"a": detections([[0, 0, 10, 10]], [0.9], [1])})
    assert result.summary() == {
        "mAP@0.5": 0.5,
        "mAP@0.5/11pt": pytest.approx(6 / 11),
        "mAP@0.7": 0.5,
        "mAP@0.7/11pt": pytest.approx(6 / 11),
        "AP@0.5/cat": 0.5,
        "AP@0.7/cat": 0.5,
    }


def test_the_order_and_the_grouping_of_updates_do_not_matter(target, detections):
    truths = {name: target([[0, 0, 10, 10]], [1]) for name in "abcd"}
    found = {
        name: detections([[0, 0, 10, 10 - shift]], [0.5], [1])
        for name, shift in zip("abcd", (0, 6, 0, 6), strict=True)
    }
    forward = score(truths, found)
    backward = score(truths, dict(reversed(list(found.items()))))
    assert forward.classes[0].curves[0].precision.tolist() == [1, 1 / 2, 2 / 3, 2 / 4]
    assert forward.summary() == backward.summary()


def test_compute_may_be_called_again_and_reset_forgets(target, detections):
    evaluator = VOCEvaluator({name: target(GOOD[0], [1]) for name in "ab"}, NAMES)
    evaluator.update(["a"], [detections(*GOOD)])
    assert evaluator.compute().mean_ap(0.5) == 0.5
    evaluator.update(["b"], [detections(*GOOD)])
    assert evaluator.compute().mean_ap(0.5) == 1
    evaluator.reset()
    assert evaluator.compute().mean_ap(0.5) == 0


# ----------------------------------------------------------------- random cases, exact definition

CELLS = st.integers(0, 6)
SPANS = st.integers(0, 4)


@st.composite
def boxes(draw):
    x, y, width, height = draw(CELLS), draw(CELLS), draw(SPANS), draw(SPANS)
    return [x, y, x + width, y + height]


@st.composite
def pictures(draw):
    truths, found = {}, {}
    for number in range(draw(st.integers(0, 4))):
        rows = draw(st.lists(st.tuples(boxes(), st.integers(1, 3), st.booleans()), max_size=4))
        truths[str(number)] = Target(
            torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([row[1] for row in rows], dtype=torch.int64),
            torch.tensor([row[2] and draw(st.booleans()) for row in rows], dtype=torch.bool),
        )
        # Three scores only, so that ties abound.
        scores = st.sampled_from([0.25, 0.5, 0.75])
        rows = draw(st.lists(st.tuples(boxes(), st.integers(1, 3), scores), max_size=6))
        if rows or draw(st.booleans()):
            found[str(number)] = Detections(
                torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
                torch.tensor([row[2] for row in rows], dtype=torch.float32),
                torch.tensor([row[1] for row in rows], dtype=torch.int64),
            )
    return truths, found


@settings(max_examples=100, deadline=None)
@given(case=pictures(), threshold=st.sampled_from([0.1, 0.5, 0.75]))
def test_random_cases_match_the_exact_definition(slow_ap, case, threshold):
    truths, found = case
    result = score(truths, found, iou_thresholds=(threshold,))
    expected = [slow_ap(truths, found, label, threshold) for label in (1, 2, 3)]
    for one, exact in zip(result.classes, expected, strict=True):
        (curve,) = one.curves
        if exact is None:
            assert curve.ap is None
            assert curve.ap_11pt is None
        else:
            assert curve.ap == pytest.approx(float(exact[0]), abs=1e-12)
            assert curve.ap_11pt == pytest.approx(float(exact[1]), abs=1e-12)
    known = [float(exact[0]) for exact in expected if exact is not None]
    mean = sum(known) / len(known) if known else None
    assert result.mean_ap(threshold) == (mean if mean is None else pytest.approx(mean, abs=1e-12))


def random_case(random: np.random.Generator) -> tuple[dict[str, Target], dict[str, Detections]]:
    """Small whole coordinates, so that ties of overlap abound; copies of boxes; few scores."""
    truths, found = {}, {}
    for number in range(random.integers(1, 5)):
        count = int(random.integers(0, 5))
        corners = random.integers(0, 7, (count, 2))
        boxes = np.concatenate([corners, corners + random.integers(0, 5, (count, 2))], axis=1)
        truths[str(number)] = Target(
            torch.from_numpy(boxes).float(),
            torch.from_numpy(random.integers(1, 4, count)),
            torch.from_numpy(random.random(count) < 0.25),
        )
        if random.random() < 0.1:
            continue
        many = int(random.integers(0, 9))
        corners = random.integers(0, 7, (many, 2))
        mine = np.concatenate([corners, corners + random.integers(0, 5, (many, 2))], axis=1)
        labels = random.integers(1, 4, many)
        for place in np.flatnonzero(random.random(many) < 0.7 * (count > 0)):
            copied = random.integers(count)
            mine[place], labels[place] = boxes[copied], truths[str(number)].labels[copied]
        scores = random.choice([0.25, 0.5, 0.75], many).astype(np.float32)
        found[str(number)] = Detections(
            torch.from_numpy(mine).float(), torch.from_numpy(scores), torch.from_numpy(labels)
        )
    return truths, found


def test_e6_five_hundred_random_cases_match_the_exact_definition(slow_ap):
    random = np.random.default_rng(0)
    available = middling = 0
    for _ in range(500):
        truths, found = random_case(random)
        threshold = float(random.choice([0.1, 0.5, 0.75]))
        result = score(truths, found, iou_thresholds=(threshold,))
        for label, one in enumerate(result.classes, start=1):
            exact = slow_ap(truths, found, label, threshold)
            (curve,) = one.curves
            assert (curve.ap is None) == (exact is None)
            if exact is not None:
                assert curve.ap == pytest.approx(float(exact[0]), abs=1e-9)
                assert curve.ap_11pt == pytest.approx(float(exact[1]), abs=1e-9)
                available += 1
                middling += 0 < curve.ap < 1
    assert available > 900
    assert middling > 200


# ---------------------------------------------------------------------- figures of other people's

REFERENCE = {
    0.1: (0.3333333333, 0.3371980676),
    0.3: (0.2683982683, 0.2456866804),
    0.5: (0.0303030303, 0.0222222222),
    0.75: (0.0, 0.0),
}
"""IoU threshold: (11-point, all-point)."""


def read_reference(path: Path, numbers: int) -> torch.Tensor:
    """Rows `label [score] x y w h`; the tools take x + w as the last pixel inside the box."""
    rows = [line.split()[1:] for line in path.read_text().splitlines() if line.strip()]
    values = torch.tensor([[float(v) for v in row] for row in rows]).reshape(-1, numbers)
    values[:, -2:] += values[:, -4:-2] + 1
    return values


@pytest.fixture(scope="module")
def reference(data_folder):
    folder = data_folder / "eval_reference" / "tests" / "test_case_1"
    truths, found = {}, {}
    for path in sorted((folder / "gts").glob("*.txt")):
        true = read_reference(path, 4)
        ones = torch.ones(len(true), dtype=torch.int64)
        truths[path.stem] = Target(true, ones, torch.zeros(len(true), dtype=torch.bool))
        rows = read_reference(folder / "dets" / path.name, 5)
        labels = torch.ones(len(rows), dtype=torch.int64)
        found[path.stem] = Detections(rows[:, 1:], rows[:, 0], labels)
    return truths, found


def test_independent_tools_are_reproduced(reference):
    result = score(*reference, iou_thresholds=tuple(REFERENCE), devkit=True)
    for curve in result.classes[0].curves:
        eleven, area = REFERENCE[curve.iou_threshold]
        # The figures are published with ten digits.
        assert curve.ap_11pt == pytest.approx(eleven, abs=1e-10)
        assert curve.ap == pytest.approx(area, abs=1e-10)


def test_exact_tenths_differ_from_the_devkit_where_recall_is_nine_of_fifteen(reference):
    result = score(*reference, iou_thresholds=(0.1,))
    assert result.classes[0].curves[0].ap_11pt == pytest.approx(0.3689064559, abs=1e-10)
