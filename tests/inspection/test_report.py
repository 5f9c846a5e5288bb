"""Levels, exit codes and the JSON of a report."""

import json

import numpy as np
import pytest

from rfcn.config.schema import Data
from rfcn.datasets.survey_objects import Objects
from rfcn.inspection.cases import Case, Part
from rfcn.inspection.kinds import kinds_of
from rfcn.inspection.report import Report, as_json


def report(*kinds: str, boxes: int = 1000) -> Report:
    objects = Objects(
        np.zeros(boxes, np.int64),
        np.zeros((boxes, 4), np.float32),
        np.ones(boxes, np.int64),
        np.zeros(boxes, bool),
        np.array([[10, 10]]),
    )
    cases = [Case(kind, "train", f"place {n}") for n, kind in enumerate(kinds)]
    return Report("r", "voc", kinds_of(Data()), [Part("train", "s", None, objects)], cases)


@pytest.mark.parametrize(
    ("kinds", "code", "strict"),
    [
        ((), 0, 0),
        (("crowd", "no box"), 0, 0),
        (("leak",), 0, 1),
        (("leak", "bad"), 3, 3),
        (("something new",), 3, 3),
    ],
)
def test_exit_codes(kinds: tuple[str, ...], code: int, strict: int) -> None:
    assert report(*kinds).exit_code() == code
    assert report(*kinds).exit_code(strict=True) == strict


def test_v15_boxes_that_are_cut_are_a_warning_beyond_one_percent() -> None:
    assert report(*["cut"] * 10).counts() == {"fault": 0, "warning": 0, "note": 10}
    assert report(*["cut"] * 11).counts() == {"fault": 0, "warning": 11, "note": 0}


def test_the_worst_comes_first() -> None:
    rows = report("no box", "leak", "bad", "no box", "mystery", "twice").grouped()
    assert [(level, kind, len(cases)) for level, kind, _, cases in rows] == [
        ("fault", "mystery", 1),
        ("fault", "bad", 1),
        ("warning", "twice", 1),
        ("warning", "leak", 1),
        ("note", "no box", 2),
    ]


def test_json_says_all(planted_voc, report_of) -> None:
    found = report_of(planted_voc.config)
    told = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert told["complete"] is True
    assert len(told["cases"]) == len(found.cases) == sum(told["counts"].values())
    assert {case["level"] for case in told["cases"]} == {"fault", "warning", "note"}
    bad = next(case for case in told["cases"] if case["kind"] == "bad")
    assert (bad["object"], bad["done"], bad["part"]) == (1, "dropped", "train")
    assert bad["file"].endswith("V13.xml")
    train, val = told["parts"]
    assert train["classes"]["eel"] == {"boxes": 0, "difficult": 0, "pictures": 0}
    assert val["pictures"] == val["looked_at"] == 1
    anchors = told["anchors"]
    assert anchors["now"]["boxes"] == train["boxes"]
    assert sum(one["boxes"] for one in anchors["by_size"].values()) == train["boxes"]
    assert sum(one["boxes"] for one in anchors["by_class"].values()) == train["boxes"]
    assert all(one["iou"] < 0.5 for one in anchors["below_0.5"])
