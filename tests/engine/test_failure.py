import json
import math

import pytest
import torch

from rfcn.engine import failure
from rfcn.engine.failure import Attempt, Outcome
from rfcn.engine.tracing import Numbers, Trace
from rfcn.structures import ImageBatch, Target

NAN = float("nan")


def target(*box: float) -> Target:
    return Target(torch.tensor([box]), torch.tensor([1]), torch.tensor([False]), seed=5)


GOOD = target(1, 2, 3, 4)
BATCH = ImageBatch(torch.zeros(2, 3, 8, 8), [(8, 8), (6, 8)], [(16, 16)] * 2, ["a", "b"])


def attempt(step=7, *, targets=(GOOD, GOOD), before=(1.0, 2.0), autocast=None):
    return Attempt(step, 0.01, [(BATCH, list(targets))], before, {}, autocast)


def outcome(cls=NAN, norm=NAN, *, trace=None, weights=()):
    losses = {"loss_cls": torch.tensor(cls), "loss_box": torch.tensor(0.5)}
    return Outcome(losses, norm, trace or Trace(), weights, ["head.weight"])


def report(begun=None, ended=None):
    return failure.report(begun or attempt(), ended or outcome())


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
    assert found["losses_before"] == [1.0, 2.0]
    assert found["gradients_not_finite"] == ["head.weight"]
    assert [each["id"] for each in found["pictures"]] == ["a", "b"]
    assert found["pictures"][1] == {
        "id": "b",
        "size": [6, 8],
        "size_on_disk": [16, 16],
        "seed": 5,
        "labels": [1],
        "boxes": [[1, 2, 3, 4]],
    }


LOST = Numbers("roi_head.score_maps", "Conv2d", "float32", (2, 3), 7.0, 4)


def test_the_paragraph_names_step_terms_pictures_module_and_bundle():
    found = report(ended=outcome(trace=Trace(outputs=[LOST])))
    text = failure.describe(found, "`rfcn replay X` takes it again.")
    for words in (
        "step 7",
        "loss_cls nan",
        "loss_box 0.5",
        "lr 0.01",
        "pictures a, b",
        "module to give such numbers: roi_head.score_maps.",
        "rfcn replay X",
    ):
        assert words in text
    assert "\n" not in text


@pytest.mark.parametrize("box", [(5, 2, 5, 4), (3, 4, 1, 2), (0, 0, NAN, 4)])
def test_a_bad_box_is_suspected(box):
    cause = report(attempt(targets=(GOOD, target(*box))))["likely_cause"]
    assert cause.startswith("picture b has the box")


def test_a_picture_without_boxes_is_no_suspect():
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0).bool())
    assert "learning rate" in report(attempt(targets=(empty, GOOD)))["likely_cause"]


def seen(largest, *, lost=0, dtype="float16"):
    return Trace(outputs=[Numbers("backbone", "Conv2d", dtype, (2,), largest, lost)])


@pytest.mark.parametrize(
    ("begun", "ended", "words"),
    [
        ({"step": 1, "before": ()}, {}, "first step"),
        ({}, {}, "learning rate too high for this batch size: 0.01 with 2 pictures"),
        ({"before": (0.5, 40.0)}, {}, "the loss had risen from 0.5 to 40"),
        ({}, {"cls": 0.5}, "the gradient exploded"),
        ({}, {"cls": 2e4, "norm": 3.0}, "the loss exploded"),
        ({}, {"weights": ["head.bias"]}, "head.bias hold NaN or infinity"),
        ({"step": 1, "before": ()}, {"weights": ["head.bias"]}, "weights were lost before"),
        ({"autocast": "float16"}, {"cls": 0.5}, "float16 holds nothing above 65504, and the grad"),
        ({"autocast": "float16"}, {"trace": seen(6e4, lost=1)}, "the activations went beyond"),
        ({"autocast": "bfloat16"}, {"cls": 0.5}, "the gradient exploded"),
        ({"autocast": "float16"}, {"trace": seen(1.0, lost=1, dtype="float32")}, "learning rate"),
    ],
)
def test_likely_causes_by_rule(begun, ended, words):
    assert words in report(attempt(**begun), outcome(**ended))["likely_cause"]


def test_a_poisoned_weight_is_surer_than_a_bad_box():
    begun = attempt(targets=(GOOD, target(0, 0, NAN, 4)))
    assert "hold NaN" in report(begun, outcome(weights=["x"]))["likely_cause"]


# T12
def test_t12_out_of_memory_tells_shapes_boxes_the_largest_picture_and_three_knobs():
    text = failure.out_of_memory(attempt(), " Step 6 is saved.")
    for words in (
        "step 7 with pictures a, b",
        "(2, 3, 8, 8)",
        "largest is a with 8 x 8 pixels",
        "the most boxes are 1 of a",
        "train.accumulate",
        "train.batch_size",
        "data.train_short_sides",
        "model.proposer.train_proposals. Step 6 is saved.",
    ):
        assert words in text


def test_numbers_keep_six_digits():
    begun = attempt(targets=(target(1.23456789, 2, 3, 4), GOOD), before=(1e-9, math.inf))
    found = report(begun)
    assert found["losses_before"] == [1e-9, "inf"]
    assert found["pictures"][0]["boxes"] == [[1.23457, 2, 3, 4]]
