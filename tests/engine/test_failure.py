import json

import pytest
import torch

from rfcn.engine import failure
from rfcn.structures import ImageBatch, Target

NAN = float("nan")


def target(*box: float) -> Target:
    return Target(torch.tensor([box]), torch.tensor([1]), torch.tensor([False]))


GOOD = target(1, 2, 3, 4)
BATCH = ImageBatch(torch.zeros(2, 3, 8, 8), [(8, 8), (8, 8)], [(8, 8), (8, 8)], ["a", "b"])


def report(step=7, cls=NAN, norm=NAN, targets=(GOOD, GOOD)) -> dict:
    return failure.report(
        step,
        lr=0.01,
        losses={"loss_cls": torch.tensor(cls), "loss_box": torch.tensor(0.5)},
        gradient_norm=norm,
        pieces=[(BATCH, list(targets))],
        before=[1.0, 2.0],
    )


@pytest.mark.parametrize(
    ("total", "norm", "good"),
    [
        (1.0, 1.0, True),
        (1e4, 1e9, True),
        (1.1e4, 1.0, False),
        (NAN, 1.0, False),
        (float("inf"), 1.0, False),
        (1.0, NAN, False),
        (1.0, float("inf"), False),
    ],
)
def test_which_steps_may_be_taken(total, norm, good):
    assert failure.step_is_good(total, norm) is good


def test_the_report_holds_the_whole_step_and_is_json():
    found = json.loads(json.dumps(report(), allow_nan=False))
    assert found["losses"] == {"loss_cls": "nan", "loss_box": 0.5}
    assert found["gradient_norm"] == "nan"
    assert found["ids"] == ["a", "b"]
    assert found["boxes"] == [[[1, 2, 3, 4]]] * 2
    assert found["losses_before"] == [1.0, 2.0]


def test_the_paragraph_names_step_terms_and_pictures():
    text = failure.describe(report())
    for words in ("step 7", "loss_cls nan", "loss_box 0.5", "lr 0.01", "pictures a, b"):
        assert words in text
    assert "\n" not in text


@pytest.mark.parametrize("box", [(5, 2, 5, 4), (3, 4, 1, 2), (0, 0, NAN, 4)])
def test_a_bad_box_is_the_first_suspect(box):
    cause = report(targets=(GOOD, target(*box)))["likely_cause"]
    assert cause.startswith("picture b has the box")


def test_a_picture_without_boxes_is_no_suspect():
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0).bool())
    assert "learning rate" in report(targets=(empty, GOOD))["likely_cause"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"step": 1}, "first step"),
        ({"step": 9}, "learning rate too high"),
        ({"step": 9, "cls": 0.5}, "the gradient exploded"),
        ({"step": 9, "cls": 2e4, "norm": 3.0}, "the loss exploded"),
    ],
)
def test_likely_causes_by_rule(values, words):
    assert words in report(**values)["likely_cause"]
