"""The definition itself, against numbers worked out by hand."""

import torch

from rfcn.ops.reference.nms import nms


def test_nms_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.5, 0.9, 0.5, 0.9])
    # 1 meets 3 with IoU 0.5, which is not above 0.5; 0 equals 3.
    assert nms(boxes, scores, 0.5) == [1, 3, 2]
    assert nms(boxes, scores, 0.49) == [1, 2]
    assert nms(boxes, scores, 0.49, torch.tensor([0, 0, 0, 1])) == [1, 3, 2]
    assert nms(boxes, scores, 0.5, limit=2) == [1, 3]
