"""The curves of a run, from its metrics.jsonl."""

import json

import numpy as np
import pytest

from rfcn.errors import DataError
from rfcn.visualization.plots import _parts, _read, _smooth, plot_losses


def write(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def run(steps=60):
    records = [
        {
            "step": step,
            "train/lr": 1e-3,
            "train/loss": 2 / step,
            "train/loss_rpn_cls": 1 / step,
            "train/loss_box": None if step == 20 else 1 / step,
            "last": {"train/loss": 1.0},
        }
        for step in range(10, 10 * steps + 1, 10)
    ]
    return [*records, {"step": 600, "val/mAP@0.5": 0.4, "val/AP@0.5/cat": 0.4, "val/mAP@0.7": None}]


def test_a_panel_for_each_curve(tmp_path):
    image = plot_losses(write(tmp_path / "metrics.jsonl", run()))
    assert image.dtype == np.uint8
    # loss, loss_rpn_cls, loss_box, mAP@0.5, lr: five panels in two rows of four.
    assert image.shape == (520, 1560, 3)
    few = plot_losses(write(tmp_path / "few.jsonl", [{"step": 1, "train/loss": 1.0}]))
    assert few.shape == (270, 390, 3)


def test_values_that_do_not_exist_are_left_out(tmp_path):
    series = _read(write(tmp_path / "metrics.jsonl", run(5)))
    assert series["train/loss_box"][0] == [10, 30, 40, 50]
    assert "val/mAP@0.7" not in series
    assert "last" not in series


def test_an_unfinished_last_line_is_dropped(tmp_path):
    path = write(tmp_path / "metrics.jsonl", run(), tail='{"step": 610, "train/lo')
    assert plot_losses(path).shape == (520, 1560, 3)
    assert _read(path)["train/loss"][0][-1] == 600


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        plot_losses(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="holds no losses yet"):
        plot_losses(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(DataError, match=r"bad\.jsonl:1: is not a record with a step"):
        plot_losses(write(tmp_path / "bad.jsonl", [{"loss": 1}, {"step": 1}]))


def test_the_smooth_line_is_a_centred_mean():
    values = np.arange(100.0)
    smooth = _smooth(values)
    assert smooth[50] == pytest.approx(values[48:53].mean())
    assert smooth[0] == pytest.approx(values[:3].mean())
    assert _smooth(np.array([3.0])).tolist() == [3]


def test_a_line_ends_with_its_stage():
    stages = ([2.0, 4, 6, 8, 10, 12], [1.0, 1, 2, 3, 3, 4])
    every = [part.tolist() for part in _parts(np.array(stages[0]), stages)]
    assert every == [[0, 1], [2], [3, 4], [5]]
    losses = [part.tolist() for part in _parts(np.array([2.0, 4, 8, 10]), stages)]
    assert losses == [[0, 1], [2, 3]], "a loss of stages 1 and 3"
    between = [part.tolist() for part in _parts(np.array([5.0, 11, 12]), stages)]
    assert between == [[0], [1, 2]]
    assert [part.tolist() for part in _parts(np.array([2.0, 4]), None)] == [[0, 1]]


def test_stages_change_the_picture(tmp_path):
    records = [{"step": n, "train/loss": float(n % 20)} for n in range(10, 50)]
    staged = [{**record, "train/stage": 1 + record["step"] // 30} for record in records]
    plain, broken = (
        plot_losses(write(tmp_path / f"{name}.jsonl", lines))
        for name, lines in (("plain", records), ("staged", staged))
    )
    assert plain.shape == broken.shape
    assert not np.array_equal(plain, broken)
