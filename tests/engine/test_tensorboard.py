import sys
import time

import numpy as np
import pytest

from rfcn.engine.tensorboard import TensorBoard


def read(folder):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    return accumulator.Reload()


def test_scalars_pictures_and_text_can_be_read_back(tmp_path):
    warnings: list[str] = []
    board = TensorBoard(tmp_path, start_step=0, warn=warnings.append)
    board.scalars({"train/loss": 0.5, "val/mAP@0.5": 0.25}, 20)
    board.picture("pictures/train_targets", np.zeros((4, 6, 3), np.uint8), 20)
    board.text("config", "a: 1\nb: 2", 0)
    board.close()
    found = read(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(20, 0.5)]
    assert found.Scalars("val/mAP@0.5")[0].value == 0.25
    image = found.Images("pictures/train_targets")[0]
    assert (image.height, image.width) == (4, 6)
    assert found.Tags()["tensors"] == ["config/text_summary"]
    assert warnings == []


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path):
    for start, steps in ((0, (2, 4, 6)), (4, (6,))):
        board = TensorBoard(tmp_path, start_step=start, warn=print)
        for step in steps:
            board.scalars({"train/loss": float(start)}, step)
        board.close()
        time.sleep(1)  # files are read in the order of their names, which tell the second
    events = [(event.step, event.value) for event in read(tmp_path).Scalars("train/loss")]
    assert events == [(2, 0.0), (4, 0.0), (6, 4.0)]


def test_t15_without_tensorboard_one_warning_and_silence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    warnings: list[str] = []
    board = TensorBoard(tmp_path, start_step=0, warn=warnings.append)
    board.scalars({"train/loss": 1.0}, 1)
    board.close()
    assert len(warnings) == 1
    assert "TensorBoard is off" in warnings[0]
    assert "pip install tensorboard" in warnings[0]


def test_t15_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    warnings: list[str] = []
    TensorBoard(tmp_path / "tensorboard", start_step=0, warn=warnings.append).close()
    assert len(warnings) == 1


def test_t15_a_writer_that_fails_later(tmp_path, monkeypatch):
    warnings: list[str] = []
    board = TensorBoard(tmp_path, start_step=0, warn=warnings.append)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(board._writer, "add_scalar", full)
    board.scalars({"train/loss": 1.0, "train/lr": 1.0}, 1)
    board.close()
    assert len(warnings) == 1
    assert "No space left" in warnings[0]
