"""Running a detector over a loader: modes, order, interruption."""

import pytest
import torch
from torch import nn

from rfcn.evaluation.evaluator import evaluate
from rfcn.structures import Detections, ImageBatch


class Recorder:
    """An evaluator that only remembers."""

    def __init__(self):
        self.seen = ["left from an earlier run"]

    def reset(self):
        self.seen = []

    def update(self, ids, detections):
        self.seen += list(zip(ids, detections, strict=True))

    def compute(self):
        return len(self.seen)


class Detector(nn.Module):
    """Finds the whole picture, and knows in which state it was called."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm2d(3)
        self.live = nn.BatchNorm2d(3)
        self.frozen.eval()
        self.states = []

    def forward(self, batch):
        self.states.append((self.training, self.live.training, torch.is_inference_mode_enabled()))
        size = [(0, 0, width, height) for height, width in batch.original_sizes]
        boxes = torch.tensor(size, dtype=torch.float32)
        ones = torch.ones(1)
        return [Detections(box[None], ones, ones.long()) for box in boxes]


def batches():
    for first, count in ((0, 2), (2, 1)):
        sizes = [(8 + first + index, 9) for index in range(count)]
        ids = [str(first + index) for index in range(count)]
        yield ImageBatch(torch.zeros(count, 3, 16, 16, dtype=torch.uint8), sizes, sizes, ids)


def test_every_picture_reaches_the_evaluator_once():
    recorder = Recorder()
    evaluate(Detector(), batches(), recorder, device="cpu")
    assert [name for name, _ in recorder.seen] == ["0", "1", "2"]
    assert [found.boxes.tolist()[0][3] for _, found in recorder.seen] == [8, 9, 10]


def test_detection_happens_in_evaluation_mode_without_gradients():
    detector = Detector()
    evaluate(detector, batches(), Recorder(), device="cpu")
    assert detector.states == [(False, False, True)] * 2
    assert not torch.is_inference_mode_enabled()


def test_every_part_is_back_in_its_mode_even_after_an_error():
    detector = Detector()

    def stop():
        raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        evaluate(detector, batches(), recorder, device="cpu", after_batch=stop)
    assert len(recorder.seen) == 2
    assert detector.training
    assert detector.live.training
    assert not detector.frozen.training


def test_any_callable_detects():
    recorder = Recorder()
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    evaluate(lambda batch: [nothing] * len(batch), batches(), recorder, device="cpu")
    assert recorder.compute() == 3


@pytest.mark.parametrize("progress", [True, False])
def test_no_progress_bar_without_a_terminal(capfd, progress):
    evaluate(Detector(), batches(), Recorder(), device="cpu", progress=progress)
    assert capfd.readouterr() == ("", "")
