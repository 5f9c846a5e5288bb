"""The code of others behind our arrays."""

import builtins

import numpy as np
import pytest

from rfcn.errors import MachineError
from rfcn.evaluation.coco_matching import COCODetections, COCOTruths
from rfcn.evaluation.coco_official import official_figures

NOTHING = np.zeros(0, dtype=np.int64)
ONE = np.zeros(1, dtype=np.int64)
TRUTHS = COCOTruths(np.array([[0.0, 0, 9, 9]]), np.array([81.0]), ONE.astype(bool), ONE, ONE)


@pytest.mark.parametrize("tool", ["pycocotools", "faster-coco-eval"])
def test_a_hit_and_a_class_that_is_absent(tool):
    found = COCODetections(np.array([[0.0, 0, 9, 9]]), np.ones(1), ONE, ONE)
    figures = official_figures(found, TRUTHS, classes=2, tool=tool)
    assert figures.precision.shape == (10, 101, 2, 4)
    assert figures.precision[:, :, 0, :2] == pytest.approx(1, abs=1e-12)
    assert np.isnan(figures.precision[:, :, 1]).all()
    assert np.isnan(figures.precision[:, :, 0, 2:]).all()
    assert figures.recall[:, 0, :2].min() == 1
    assert figures.required.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("tool", ["pycocotools", "faster-coco-eval"])
def test_e1_what_cannot_be_read_as_a_file_can_be_scored(tool):
    nothing = COCODetections(np.zeros((0, 4)), np.zeros(0), NOTHING, NOTHING)
    figures = official_figures(nothing, TRUTHS, classes=1, tool=tool)
    assert figures.precision[:, :, 0, 0].max() == 0


@pytest.mark.parametrize("tool", ["pycocotools", "faster-coco-eval"])
def test_s2_a_missing_package_is_named(monkeypatch, tool):
    real = builtins.__import__

    def refuse(name, *args, **options):
        if name.startswith(("pycocotools", "faster_coco_eval")):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MachineError, match=rf"eval\.coco_tool: {tool} is not installed"):
        official_figures(
            COCODetections(np.zeros((0, 4)), np.zeros(0), NOTHING, NOTHING),
            TRUTHS,
            classes=1,
            tool=tool,
        )
