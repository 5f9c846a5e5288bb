import json
import sys
import time

import numpy as np
import pytest
import torch

from rfcn.engine.logging import RunLog, StepRecord, clock, format_line


def record(step: int, *, cls: float = 1.0, box: float = 0.5) -> StepRecord:
    losses = {"loss_cls": torch.tensor(cls), "loss_box": torch.tensor(box)}
    return StepRecord(step, 0.01, cls + box, losses, 2.0 * step, 4, 0.25, 0.5)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def open_log(folder, **options):
    defaults = {"iterations": 100, "every": 2, "tensorboard": False, "console": False}
    return RunLog(folder, **(defaults | options))


def test_a_line_holds_means_since_the_last_one_and_last_values(tmp_path):
    with open_log(tmp_path) as log:
        for step, cls in ((1, 1.0), (2, 3.0), (3, 5.0), (4, 5.0)):
            log.step(record(step, cls=cls))
    first, second = lines(tmp_path)
    seconds = first.pop("seconds")
    assert seconds >= 0
    assert first == {
        "step": 2,
        "train/lr": 0.01,
        "train/loss": 2.5,
        "train/loss_cls": 2.0,
        "train/loss_box": 0.5,
        "train/grad_norm": 3.0,
        "time/step": 0.5,
        "time/data": 0.25,
        "last": {
            "train/loss": 3.5,
            "train/loss_cls": 3.0,
            "train/loss_box": 0.5,
            "train/grad_norm": 4.0,
        },
        "images": 8,
    }
    assert second["train/loss_cls"] == 5.0
    assert second["images"] == 16


def test_the_last_step_always_has_a_line(tmp_path):
    with open_log(tmp_path, iterations=3, every=2) as log:
        for step in (1, 2, 3):
            log.step(record(step))
    assert [line["step"] for line in lines(tmp_path)] == [2, 3]


def test_the_plain_line_in_its_fixed_order(tmp_path, capsys):
    with open_log(tmp_path, console=True, iterations=9000) as log:
        log.step(record(1))
        log.step(record(2))
        log.say("saved")
        log.warn("careful")
    expected = (
        "step 2/9000 eta 1:14:59 lr 1.0e-02 loss 1.500 cls 1.000 box 0.500 grad 3.00 "
        "data 0.250s step 0.500s"
    )
    assert capsys.readouterr().out.splitlines() == [expected, "saved", "warning: careful"]
    kept = (tmp_path / "train.log").read_text().splitlines()
    assert [line[20:] for line in kept] == [expected, "saved", "warning: careful"]


def test_stages_are_numbered_and_their_losses_are_not_mixed(tmp_path, capsys):
    with open_log(tmp_path, console=True, iterations=4, every=10) as log:
        log.stage(1, of=2, until=1)
        log.step(record(1))
        log.stage(2, of=2, until=4)
        for step in (2, 3, 4):
            other = {"loss_rpn_cls": torch.tensor(float(step))}
            log.step(StepRecord(step, 0.01, step, other, 1.0, 4, 0.25, 0.5))
    first, second = lines(tmp_path)
    assert (first["step"], first["train/stage"], first["train/loss_cls"]) == (1, 1, 1.0)
    assert (second["step"], second["train/stage"], second["train/loss_rpn_cls"]) == (4, 2, 3.0)
    assert "train/loss_cls" not in second
    said = capsys.readouterr().out.splitlines()
    assert [line[:19] for line in said] == ["stage 1/2 step 1/4 ", "stage 2/2 step 4/4 "]


def test_gpu_memory_closes_the_line_where_there_is_one():
    metrics = {"train/lr": 1e-3, "train/loss": 1.0, "train/grad_norm": 1.0}
    metrics |= {"time/data": 0.0, "time/step": 0.1, "system/gpu_gigabytes": 3.14}
    assert format_line(1, 2, 0.1, metrics).endswith("step 0.100s mem 3.1G")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (-5, "0:00:00"), (59.6, "0:01:00"), (90_061, "25:01:01")]
)
def test_t14_clock(seconds, text):
    assert clock(seconds) == text


def test_t14_a_jump_of_the_wall_clock_changes_nothing(tmp_path, monkeypatch, capsys):
    with open_log(tmp_path, console=True) as log:
        log.step(record(1))
        monkeypatch.setattr(time, "time", lambda: 0.0)
        log.step(record(2))
    assert "eta 0:00:49" in capsys.readouterr().out
    assert lines(tmp_path)[0]["seconds"] >= 0


def test_losses_wait_on_the_device_until_a_line_is_due(tmp_path, monkeypatch):
    reads = []
    to_list, item = torch.Tensor.tolist, torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or to_list(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or item(self))
    with open_log(tmp_path, every=5) as log:
        for step in range(1, 5):
            log.step(record(step))
        assert reads == []
        log.step(record(5))
    assert reads == [1]


def test_graphs_are_not_kept_alive(tmp_path):
    weight = torch.ones((), requires_grad=True)
    with open_log(tmp_path, every=1) as log:
        log.step(StepRecord(1, 0.1, 2.0, {"loss_cls": weight * 2}, 1.0, 1, 0.0, 0.1))
    assert lines(tmp_path)[0]["train/loss_cls"] == 2.0


def test_results_go_to_the_same_file_and_what_is_unknown_is_null(tmp_path):
    with open_log(tmp_path) as log:
        log.scalars({"val/mAP@0.5": 0.5, "val/AP cat": None, "val/AP dog": float("nan")}, 7)
    assert lines(tmp_path) == [
        {"step": 7, "val/mAP@0.5": 0.5, "val/AP cat": None, "val/AP dog": None}
    ]


def test_t5_a_term_that_stays_zero_is_warned_of_once(tmp_path, capsys):
    with open_log(tmp_path, console=True, every=50, iterations=500) as log:
        for step in range(1, 501):
            log.step(record(step, box=0.0))
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "loss_box has been exactly 0 for 200 steps" in warnings[0]


def test_t5_one_step_above_zero_is_life(tmp_path, capsys):
    with open_log(tmp_path, console=True, every=50, iterations=390) as log:
        for step in range(1, 391):
            log.step(record(step, box=float(step == 195)))
    assert "warning" not in capsys.readouterr().out


def test_w18_a_resumed_log_goes_on_within_a_line(tmp_path):
    for name, pieces in (("smooth", [(0, 6)]), ("resumed", [(0, 3), (3, 4), (4, 6)])):
        (tmp_path / name).mkdir()
        before = None
        for start, end in pieces:
            with open_log(tmp_path / name, every=5, start_step=start, before=before) as log:
                for step in range(start + 1, end + 1):
                    log.step(record(step, cls=0.1 * step))
                before = json.loads(json.dumps(log.state()))  # as a checkpoint holds it
                log.scalars({"val/AP": 0.5}, 6)
                log.step(record(99))  # never kept
    smooth, resumed = (lines(tmp_path / name) for name in ("smooth", "resumed"))
    assert [line.pop("seconds", 0) for line in (*smooth, *resumed)]
    assert resumed == smooth


def test_w18_an_evaluation_that_was_made_up_for_is_written_once(tmp_path):
    for _ in range(2):
        with open_log(tmp_path, start_step=4) as log:
            log.scalars({"val/AP": 0.5}, 4)
    assert lines(tmp_path) == [{"step": 4, "val/AP": 0.5}]


def test_a_resumed_log_forgets_what_came_after_its_checkpoint(tmp_path):
    with open_log(tmp_path) as log:
        for step in range(1, 7):
            log.step(record(step))
        log.scalars({"val/mAP@0.5": 0.5}, 4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "cut by a cr')
    with open_log(tmp_path, start_step=4) as log:
        for step in (5, 6):
            log.step(record(step))
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [2, 4, 4, 6]
    assert [line["images"] for line in found if "images" in line] == [8, 16, 24]


def test_a_failure_is_kept(tmp_path):
    with open_log(tmp_path) as log:
        log.failure({"step": 3})
    assert json.loads((tmp_path / "failure.json").read_text()) == {"step": 3}
    assert '"step": 3' in (tmp_path / "train.log").read_text()


def test_everything_reaches_tensorboard_under_the_same_names(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with open_log(tmp_path, tensorboard=True) as log:
        log.step(record(1))
        log.step(record(2))
        log.scalars({"val/mAP@0.5": 0.5, "val/AP cat": None}, 2)
        log.picture("pictures/train_targets", np.zeros((2, 2, 3), np.uint8), 0)
        log.text("config", "a: 1")
    tags = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()
    assert sorted(tags["scalars"]) == [
        *("time/data", "time/step", "train/grad_norm", "train/loss", "train/loss_box"),
        *("train/loss_cls", "train/lr", "val/mAP@0.5"),
    ]
    assert tags["images"] == ["pictures/train_targets"]


def test_t15_without_tensorboard_the_log_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with open_log(tmp_path, tensorboard=True, console=True) as log:
        log.step(record(1))
        log.step(record(2))
    output = capsys.readouterr().out
    assert output.count("TensorBoard is off") == 1
    assert len(lines(tmp_path)) == 1
