"""The operators in ONNX Runtime: standard operators only, any number of RoIs, any picture."""

import sys

import pytest
import torch
from torch.export import Dim

from rfcn.errors import MachineError
from rfcn.ops.deform_psroi_pool import DeformPSRoIPool
from rfcn.ops.nms import nms
from rfcn.ops.onnx import to_onnx
from rfcn.ops.psroi_align import PSRoIAlign
from rfcn.ops.psroi_pool import PSRoIPool
from rfcn.ops.psroi_vote import PSRoIVote
from rfcn.ops.roi_align import RoIAlign
from rfcn.ops.roi_average_pool import RoIAveragePool

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'rfcn[export]'")

SCALE = 1 / 16


class DeformedByItself(DeformPSRoIPool):
    """Its offsets are pooled from the first maps."""

    def forward(self, features, rois):
        moves = super().forward(features[:, : 2 * self.k**2], rois)
        return super().forward(features, rois, moves.unflatten(1, (1, 2)))


# Each operator as a module of (features, rois), and the channels of its features.
ROI_OPERATORS = {
    "psroi_pool": (PSRoIPool(3, SCALE), 27),
    "psroi_pool, torchvision": (PSRoIPool(3, SCALE, "torchvision"), 27),
    "psroi_vote": (PSRoIVote(3, SCALE), 27),
    "roi_average_pool": (RoIAveragePool(3, SCALE), 5),
    "deform_psroi_pool": (DeformedByItself(3, SCALE, samples=2), 27),
    "psroi_align": (PSRoIAlign(3, SCALE), 27),
    "roi_align": (RoIAlign((2, 3), SCALE), 5),
    "roi_align, adaptive": (RoIAlign((2, 3), SCALE, sampling_ratio=0, aligned=False), 5),
}
# Pictures, height, width, RoIs; the first is what is traced.
SIZES = [(2, 5, 6, 4), (1, 9, 13, 40), (3, 1, 1, 7), (2, 7, 4, 1), (1, 8, 8, 0)]


def session(module, args, shapes):
    """ONNX Runtime on the exported module; the operators used are asserted to be ONNX's own."""
    program = torch.export.export(module.eval(), args, dynamic_shapes=shapes)
    model = to_onnx(program, verbose=False).model_proto
    assert {one.domain for one in model.opset_import} == {""}
    assert not model.functions
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), quiet)


def run(session, *args):
    names = [one.name for one in session.get_inputs()]
    feed = {name: one.numpy() for name, one in zip(names, args, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


@pytest.mark.parametrize("name", ROI_OPERATORS)
def test_a_roi_operator_in_onnx_runtime(backend, make_rois, name):
    module, channels = ROI_OPERATORS[name]

    def inputs(pictures, height, width, count):
        rois = make_rois(count, pictures, height / SCALE, width / SCALE, seed=count)
        return torch.randn(pictures, channels, height, width), rois

    any_size = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    onnx = session(module, inputs(*SIZES[0]), (any_size, {0: Dim.DYNAMIC}))
    for size in SIZES:
        features, rois = inputs(*size)
        expected = module(features, rois)
        found = run(onnx, features, rois)
        assert found.shape == expected.shape
        if expected.numel():
            assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_broken_roi_gives_zeros_in_onnx_runtime(make_rois):  # O5, O7
    features, rois = torch.randn(1, 12, 5, 6), make_rois(6, 1, 80, 96)
    onnx = session(PSRoIPool(2, SCALE), (features, rois), ({}, {0: Dim.DYNAMIC}))
    rois[:, 1:] = torch.tensor([0.0, 0, 79, 95])
    rois[1, 2], rois[2, 0], rois[3, 0], rois[4, 4] = torch.nan, 1, -1, torch.inf
    found = run(onnx, features, rois)
    assert [bool(one.any()) for one in found] == [True, False, False, False, False, True]


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


def test_without_the_packages_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(1),))
    with pytest.raises(MachineError, match=r"needs the package onnxscript.*rfcn\[export\]"):
        to_onnx(program)
