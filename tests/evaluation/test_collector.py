"""What evaluators of any metric share (what it refuses is tested with them)."""

import numpy as np
import torch

from rfcn.evaluation.collector import Collector, numbers_of, stack, stack_boxes


def test_detections_come_back_in_the_order_of_the_pictures(detections):
    collector = Collector("abc", ("cat", "dog"))
    collector.update(["c"], [detections([[0, 0, 1, 1], [0, 0, 2, 2]], [0.5, 0.25], [1, 2])])
    collector.update(["a"], [detections([[0, 0, 3, 3]], [0.75], [2])])
    found, labels = collector.collected()
    assert found.pictures.tolist() == [0, 2, 2]
    assert found.scores.tolist() == [0.75, 0.5, 0.25]
    assert found.boxes[:, 2].tolist() == [3, 1, 2]
    assert labels.tolist() == [2, 1, 2]
    assert list(collector.detections) == ["c", "a"]
    collector.reset()
    assert [len(column) for column in collector.collected()[0]] == [0, 0, 0]


def test_stacks_of_nothing_have_their_shapes():
    assert stack([]).shape == (0,)
    assert stack_boxes([]).shape == (0, 4)
    assert stack_boxes([torch.zeros(0, 4), torch.ones(2, 4)]).dtype == np.float64
    assert numbers_of([2, 0, 1]).tolist() == [0, 0, 2]
