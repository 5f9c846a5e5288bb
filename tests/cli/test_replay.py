"""`rfcn replay`: what it prints of a failed step, and what it ends with."""

from pathlib import Path

import pytest
import torch

from rfcn.cli.main import main
from rfcn.cli.replay import tell
from rfcn.engine.bundle import Bundle, FailedStep
from rfcn.engine.step import Found
from rfcn.engine.tracing import Numbers, Trace
from rfcn.running import replay as module
from rfcn.running.replay import Replay
from tests.engine.conftest import toy_batch

REPORT = {"losses": {"loss_cls": "nan"}, "gradient_norm": "nan", "likely_cause": "a bad box"}


def found(*, good: bool = False, error: str | None = None) -> Replay:
    failed = FailedStep(7, [toy_batch(7)], {}, {})
    fine = Numbers("backbone", "Conv2d", "float32", (2, 3), 1.5, 0)
    lost = Numbers("head", "Linear", "float32", (2, 3), 2.5, 0 if good else 4)
    seen = Trace([fine, lost], [lost], error)
    value = 0.5 if good else float("nan")
    result = Found(value, {"loss_cls": torch.tensor(value)}, value)
    poisoned = [] if good else ["head.bias"]
    bundle = Bundle(failed, ("cat",), {}, REPORT)
    return Replay(bundle, seen, None if error else result, poisoned, poisoned)


# T1
def test_t1_the_first_lost_number_is_shown_with_what_came_before() -> None:
    text = "\n".join(tell(found(), layers=8))
    assert "step 7 with step7_a, step7_b" in text
    assert "cause that the run found likely: a bad box" in text
    assert "  backbone (Conv2d): float32 2 x 3, largest 1.5\n> head (Linear)" in text
    assert "4 of 6 not finite" in text
    assert "not finite before the step: head.bias" in text
    assert text.endswith("the step fails again")
    assert "backbone (Conv2d)" not in "\n".join(tell(found(), layers=1))


def test_a_step_that_is_good_now_is_said() -> None:
    text = "\n".join(tell(found(good=True), layers=8))
    assert "the outputs of all modules are finite" in text
    assert text.endswith("the step is good now")


def test_a_step_that_ends_in_an_error_is_told() -> None:
    text = "\n".join(tell(found(error="RuntimeError: row 3"), layers=8))
    assert "the step ended with RuntimeError: row 3" in text


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 5)])
def test_the_exit_code_tells_whether_it_fails_again(
    good: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def replay(folder: Path, *, overrides: list[str]) -> Replay:
        given.append((folder, overrides))
        return found(good=good)

    monkeypatch.setattr(module, "replay", replay)
    assert main(["replay", "x", "--device", "cpu", "--set", "train.lr=1"]) == code
    assert given == [(Path("x"), ["train.lr=1", "runtime.device=cpu"])]


def test_no_such_bundle(fault, tmp_path: Path) -> None:
    assert "is no failed step but missing" in fault("replay", tmp_path / "none", code=4)
