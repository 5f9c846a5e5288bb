"""The definition itself, against numbers worked out by hand."""

import math

import pytest
import torch

from rfcn.ops.reference.soft_nms import soft_nms

# 1 lies on the better half of 0: IoU 0.5. 2 is apart.
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])
SCORES = torch.tensor([0.75, 0.5, 0.375])


def test_linear_by_hand():
    assert soft_nms(BOXES, SCORES) == ([0, 2, 1], [0.75, 0.375, 0.25])
    assert soft_nms(BOXES, SCORES, threshold=0.5) == ([0, 1, 2], [0.75, 0.5, 0.375])
    assert soft_nms(BOXES, SCORES, score_threshold=0.3) == ([0, 2], [0.75, 0.375])
    assert soft_nms(BOXES, SCORES, limit=1) == ([0], [0.75])
    apart = torch.tensor([0, 1, 0])
    assert soft_nms(BOXES, SCORES, groups=apart) == ([0, 1, 2], [0.75, 0.5, 0.375])


def test_gaussian_by_hand():
    indices, scores = soft_nms(BOXES, SCORES, method="gaussian", sigma=0.25)
    assert indices == [0, 2, 1]
    assert scores == pytest.approx([0.75, 0.375, 0.5 * math.exp(-1)])
