"""What ONNX has operators of its own for: the same results, for strange input too."""

import pytest
import torch
from onnx_session import run, session
from torch.export import Dim

from rfcn.ops.nms import nms
from rfcn.ops.roi_pool import RoIPool


class NMS(torch.nn.Module):
    """nms with its numbers kept."""

    def __init__(self, threshold, limit):
        super().__init__()
        self.threshold, self.limit = threshold, limit

    def forward(self, boxes, scores, groups=None):
        return nms(boxes, scores, self.threshold, groups=groups, limit=self.limit)


def strange_boxes(count):
    """Whole-numbered boxes with equal scores; reversed, infinite and NaN ones among them."""
    g = torch.Generator().manual_seed(count)
    boxes = (torch.rand(count, 4, generator=g) * 40).round()
    boxes[:, 2:] += boxes[:, :2]
    boxes[::7, 2:] -= 50
    infinite = torch.tensor([-torch.inf, -torch.inf, torch.inf, torch.inf])
    for row, value in enumerate([boxes.new_full((4,), torch.nan), infinite, infinite]):
        boxes[20 + row : 21 + row] = value
    scores = (torch.rand(count, generator=g) * 8).round() / 8
    scores[::11] = torch.nan
    groups = torch.randint(-1, 3, (count,), generator=g) * 10**12
    return boxes, scores, groups


@pytest.mark.parametrize(
    ("threshold", "limit", "inputs"),
    [(0.3, None, 2), (0.3, None, 3), (0.7, 9, 2), (0.0, 9, 3), (1.0, 0, 3)],
)
def test_nms_keeps_the_same_boxes_in_onnx_runtime(backend, threshold, limit, inputs):  # O21
    module = NMS(threshold, limit)
    any_count = ({0: Dim.DYNAMIC},) * inputs
    onnx = session(module, strange_boxes(30)[:inputs], any_count)
    for count in (30, 0, 1, 2, 300):
        args = strange_boxes(count)[:inputs]
        assert torch.equal(run(onnx, *args), module(*args)), count


class Largest(torch.nn.Module):
    """masked_select of a mask that is broadcast."""

    def forward(self, x, mask):
        return x.masked_select(mask)


def test_masked_select_broadcasts():
    x, mask = torch.arange(12.0).view(3, 4), torch.tensor([[True], [False], [True]])
    onnx = session(Largest(), (x, mask), None)
    assert torch.equal(run(onnx, x, mask), x[[0, 2]].flatten())


def test_roi_pool_of_huge_corners(compiled):  # O6
    features = torch.randn(1, 3, 5, 6)
    rois = torch.tensor([[0.0, 0, 0, 3e38, 3e38], [0, 1e30, 0, 2e30, 9], [0, -5e6, 0, 9, 9]])
    onnx = session(RoIPool(2, 1 / 16), (features, rois), None)
    assert torch.equal(run(onnx, features, rois), RoIPool(2, 1 / 16)(features, rois))
