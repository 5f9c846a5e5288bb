"""soft_nms in plain PyTorch: the scores that the compiled operator gives."""

import torch

from rfcn.ops.plain.soft_nms import soft_nms


def test_scores_come_in_the_given_order():
    boxes = torch.tensor([[0.0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 10]])
    scores = torch.tensor([0.5, 0.375, 0.75])
    rules = (0, 0.3, 0.5, 0.001)
    assert soft_nms(boxes, scores, None, *rules, -1).tolist() == [0.25, 0.375, 0.75]
    apart = torch.tensor([0, 0, 1])
    assert soft_nms(boxes, scores, apart, *rules, -1).tolist() == [0.5, 0.375, 0.75]
    inf = float("inf")
    assert soft_nms(boxes, scores, None, *rules, 2).tolist() == [-inf, 0.375, 0.75]
    assert soft_nms(boxes[:0], scores[:0], None, *rules, -1).tolist() == []
