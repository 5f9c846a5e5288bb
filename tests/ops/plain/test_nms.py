"""nms in plain PyTorch: the mask that the compiled operator gives."""

import torch

from rfcn.ops.plain.nms import nms


def test_nms_gives_a_mask_in_the_given_order():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
    assert nms(boxes, None, 0.5, 3).tolist() == [True, False, True]
    assert nms(boxes, torch.tensor([0, 1, 0]), 0.5, 3).tolist() == [True, True, True]
    assert nms(boxes, None, 0.5, 1).tolist() == [True, False, False]
    assert nms(boxes[:0], None, 0.5, 0).tolist() == []
