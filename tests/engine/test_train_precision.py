"""The loop with half the bits and with an average: steps skipped, steps resumed."""

import json

import pytest
import torch

from rfcn.engine.checkpoint import capture, restore
from rfcn.engine.ema import WeightAverage
from rfcn.engine.logging import RunLog
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.precision import Precision
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.errors import NumericalError
from tests.engine.conftest import ToyDetector, ToyLoader
from tests.engine.test_train import assert_same


class Run:
    """Steps of the toy detector, kept as a checkpoint would be; some gradients are not finite."""

    def __init__(self, folder, name, last=8, *, state=None, bad_steps=(), decay=0.6):
        torch.manual_seed(4)
        self.model = ToyDetector()
        self.bad_steps = bad_steps
        self.model.head.weight.register_hook(self.spoil)
        self.optimizer = build_sgd(self.model, lr=1.0, momentum=0.9, weight_decay=0.0)
        self.precision = Precision(name)
        self.average = WeightAverage(self.model, decay)
        self.parts = {"precision": self.precision, "average": self.average}
        self.start = 0
        if state is not None:
            self.start, _ = restore(state, self.model, self.optimizer, **self.parts)
        self.saved = {}
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.last = last

    def spoil(self, gradient):
        return gradient * (float("inf") if self.start + self.model.calls in self.bad_steps else 1)

    def go(self):
        options = {"tensorboard": False, "console": False, "start_step": self.start}
        with RunLog(self.folder, iterations=self.last, every=1, **options) as log:
            train(
                self.model,
                ToyLoader(self.start),
                optimizer=self.optimizer,
                schedule=Schedule(0.05, self.last),
                log=log,
                milestones=Milestones(self.save, 1),
                start_step=self.start,
                manner=Manner(1.0, precision=self.precision, average=self.average),
            )
        return self

    def save(self, step):
        path = self.folder / "state.pt"  # as a file does, it stands still
        torch.save(capture(self.model, self.optimizer, step=step, **self.parts), path)
        self.saved[step] = torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_w18_precision_and_average_go_on_bit_for_bit(tmp_path, name):
    bad = {"bad_steps": (3, 4) if name == "float16" else ()}
    whole = Run(tmp_path / "whole", name, **bad).go()
    resumed = Run(tmp_path / "parts", name, state=whole.saved[4], **bad).go()
    for step in range(5, 9):
        for part in ("model", "optimizer", "average", "precision"):
            left, right = whole.saved[step][part], resumed.saved[step][part]
            if part == "precision":
                assert left == right
            else:
                assert_same(left, right)
    averages = whole.saved[8]["average"]["weights"]
    assert not torch.equal(averages["head.weight"], whole.saved[8]["model"]["head.weight"])


def test_t2_a_skipped_step_moves_nothing_and_is_said(tmp_path):
    run = Run(tmp_path / "run", "float16", bad_steps=(3, 4, 6)).go()
    for step in (3, 4, 6):
        before, after = run.saved[step - 1], run.saved[step]
        assert torch.equal(before["model"]["head.weight"], after["model"]["head.weight"])
        assert_same(before["average"], after["average"])
        assert_same(before["optimizer"]["state"], after["optimizer"]["state"])
    assert run.saved[8]["precision"]["skipped"] == 3
    assert run.saved[8]["average"]["updates"] == 5
    said = (tmp_path / "run" / "train.log").read_text()
    assert "step 4: a gradient left the range of float16, so it was not taken" in said
    assert "(2 skipped, 2 in a row)" in said
    assert said.count("left the range") == 3


def test_t2_twenty_skipped_in_a_row_end_the_run(tmp_path):
    run = Run(tmp_path / "run", "float16", last=30, bad_steps=range(5, 31))
    words = r"step 24: .*gradient norm (inf|nan).*20 steps in a row left the range of float16"
    with pytest.raises(NumericalError, match=words):
        run.go()
    assert list(run.saved)[-1] == 23
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert failure["step"] == 24


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_t2_nothing_else_skips_a_step(tmp_path, name):
    with pytest.raises(NumericalError, match=r"gradient norm (inf|nan)") as caught:
        Run(tmp_path / "run", name, bad_steps=(3,)).go()
    assert "float16" not in str(caught.value)


def test_t1_a_loss_that_is_not_finite_is_no_question_of_scale(tmp_path):
    run = Run(tmp_path / "run", "float16")
    run.model.poison_at = 3
    with pytest.raises(NumericalError, match=r"step 3.*loss_cls nan"):
        run.go()
    assert list(run.saved) == [1, 2]
