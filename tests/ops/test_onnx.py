"""The operators in ONNX Runtime: standard operators only, any number of RoIs, any picture."""

import sys
from pathlib import Path

import pytest
import torch
from onnx_session import run, session
from torch.export import Dim

from rfcn.errors import MachineError
from rfcn.ops import library
from rfcn.ops.deform_psroi_pool import DeformPSRoIPool
from rfcn.ops.onnx import to_onnx
from rfcn.ops.psroi_align import PSRoIAlign
from rfcn.ops.psroi_pool import PSRoIPool
from rfcn.ops.psroi_vote import PSRoIVote
from rfcn.ops.roi_align import RoIAlign
from rfcn.ops.roi_average_pool import RoIAveragePool
from rfcn.ops.roi_pool import RoIPool

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
    "roi_pool": (RoIPool((3, 2), SCALE), 5),
    "roi_align": (RoIAlign((3, 2), SCALE), 5),
    "roi_align, adaptive, not aligned": (RoIAlign(2, SCALE, 0, False), 5),
    "psroi_align": (PSRoIAlign(3, SCALE), 27),
    "psroi_align, adaptive": (PSRoIAlign(2, SCALE, 0), 12),
}
# Pictures, height, width, RoIs; the first is what is traced.
SIZES = [(2, 5, 6, 4), (1, 9, 13, 40), (3, 1, 1, 7), (2, 7, 4, 1), (1, 8, 8, 0)]


# Of these the plain form is not asked; docs/ops.md says why.
COMPILED_ONLY = {"roi_pool", "roi_align, adaptive, not aligned", "psroi_align, adaptive"}


@pytest.mark.parametrize("name", ROI_OPERATORS)
def test_a_roi_operator_in_onnx_runtime(compiled, make_rois, name):
    agrees_in_onnx_runtime(name, make_rois)


@pytest.mark.parametrize("name", sorted(ROI_OPERATORS.keys() - COMPILED_ONLY))
def test_a_plain_form_in_onnx_runtime(monkeypatch, make_rois, name):
    monkeypatch.setattr(library, "LIBRARY", library.load("torch", Path(".")))
    agrees_in_onnx_runtime(name, make_rois)


def agrees_in_onnx_runtime(name, make_rois):
    module, channels = ROI_OPERATORS[name]

    def inputs(pictures, height, width, count):
        rois = make_rois(count, pictures, height / SCALE, width / SCALE, seed=count)
        return torch.randn(pictures, channels, height, width), rois

    any_size = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    onnx = session(module, inputs(*SIZES[0]), (any_size, {0: Dim.DYNAMIC}))
    for pictures, height, width, count in SIZES:
        features, rois = inputs(pictures, height, width, count)
        expected = module(features, rois)
        found = run(onnx, features, rois)
        assert found.shape == expected.shape
        if expected.numel():
            assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    features, rois = inputs(*SIZES[0][:3], 6)
    rois[:] = torch.tensor([0.0, 0, 0, 95, 79])  # O5, O7: a graph cannot raise, so zeros
    rois[1, 2], rois[2, 0], rois[3, 0], rois[4, 4] = torch.nan, 2, -1, torch.inf
    found = run(onnx, features, rois)
    assert [bool(one.any()) for one in found] == [True, False, False, False, False, True]


def test_without_the_packages_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(1),))
    with pytest.raises(MachineError, match=r"needs the package onnxscript.*rfcn\[export\]"):
        to_onnx(program)
