"""The analysis as a whole, and its files."""

import csv
import json

import numpy as np
import pytest

from rfcn.evaluation.analysis import analyse, as_json, summarise, write_tables
from rfcn.evaluation.proposal_recall import proposal_recall
from rfcn.evaluation.scored import gather
from rfcn.evaluation.voc import VOCEvaluator

NAMES = ("cat", "dog [x] größer", "never")


@pytest.fixture(scope="module")
def scene(slow):
    return slow.random_scene(1, classes=2)


@pytest.fixture(scope="module")
def analysis(scene):
    scored = gather(*scene, NAMES)
    recall = proposal_recall([np.zeros((3, 4))] * 8, scored.truths, most=10)
    return analyse(scored, np.full((8, 2), 100), proposals=recall, resamples=20)


def test_its_map_is_that_of_the_metric(analysis, scene):
    truths, found = scene
    evaluator = VOCEvaluator(truths, NAMES)
    evaluator.update(list(found), list(found.values()))
    result = evaluator.compute()
    assert analysis.intervals.mean.value == pytest.approx(result.mean_ap(0.5), abs=1e-12)
    assert analysis.errors.ap == analysis.intervals.mean.value
    assert [one.value for one in analysis.intervals.classes] == [
        one.curves[0].ap for one in result.classes
    ]
    other = analyse(analysis.scored, np.full((8, 2), 100), iou_threshold=0.7, resamples=2)
    assert other.intervals.mean.value == pytest.approx(result.mean_ap(0.7), abs=1e-12)


def test_the_matrix_is_taken_at_the_best_threshold(analysis):
    assert analysis.score_threshold == analysis.calibration.best.score
    assert analysis.confusion.score_threshold == analysis.score_threshold


def test_the_json_holds_what_the_analysis_does(analysis, tmp_path):
    write_tables(analysis, tmp_path / "eval")
    content = json.loads((tmp_path / "eval" / "analysis.json").read_text(encoding="utf-8"))
    assert content == as_json(analysis)
    assert content["mean_ap"]["value"] == analysis.intervals.mean.value
    assert content["class_aps"][2] == {"value": None, "low": None, "high": None}
    assert content["errors"]["box"]["cost"] == analysis.errors.costs[1]
    assert content["errors"]["box"]["class_costs"][2] is None
    assert content["confusion"] == analysis.confusion.counts.tolist()
    assert len(content["slices"]) == 10
    assert content["calibration"]["overall"]["best_threshold"]["f1"] > 0
    assert content["proposals"]["average_recall"] == [0, 0, 0, 0]


def test_the_tables_can_be_read_again(analysis, tmp_path):
    write_tables(analysis, tmp_path)

    def rows(name):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    matrix = rows("confusion.csv")
    assert [row["true"] for row in matrix] == ["background", *NAMES]
    assert int(matrix[2]["cat"]) == analysis.confusion.counts[2, 1]
    assert float(rows("errors.csv")[0]["cost in mAP"]) == analysis.errors.costs[0]
    assert rows("errors.csv")[0]["cost in AP/never"] == ""
    assert [row["class"] for row in rows("thresholds.csv")] == ["all", *NAMES]
    assert rows("thresholds.csv")[3]["score"] == ""
    assert {row["slice"] for row in rows("slices.csv")} >= {"small", "crowded"}
    assert [row["proposals"] for row in rows("proposal_recall.csv")] == ["1", "2", "5", "10"]


def test_the_sentence(analysis, target):
    says = summarise(analysis)
    value = 100 * analysis.intervals.mean.value
    assert says.startswith(f"mAP@0.5 {value:.1f}, 95 % interval ")
    assert "best score threshold" in says
    nothing = analyse(gather({"a": target([], [])}, {}, NAMES), np.full((1, 2), 9), resamples=2)
    assert summarise(nothing) == "No object is to be found: there is nothing to analyse."
    assert nothing.score_threshold == 0.5
