"""The picture of the curves, and the points that are left out of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.evaluation.average_precision import Curve
from rfcn.evaluation.pr_curves import COLOURS, MOST_POINTS, _thinned, draw_pr_curves
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections


def curve(recall, precision):
    recall, precision = np.array(recall), np.array(precision)
    return Curve(0.5, recall, precision, np.linspace(1, 0, len(recall)), 0.5, 0.5)


def test_only_rises_of_the_recall_are_drawn():
    recall, precision = _thinned(curve([0, 0.25, 0.25, 0.5], [0, 0.5, 1 / 3, 0.5]))
    assert recall.tolist() == [0.25, 0.5]
    assert precision.tolist() == [0.5, 0.5]


def test_long_curves_are_thinned_but_keep_their_ends():
    many = np.arange(1, 50_001) / 50_000
    recall, precision = _thinned(curve(many, many[::-1]))
    assert len(recall) == len(precision) == MOST_POINTS
    assert (recall[0], recall[-1]) == (many[0], 1)


@pytest.mark.parametrize("classes", [1, 7])
def test_a_panel_for_every_class(tmp_path, target, classes):
    boxes, labels = [[0, 0, 9, 9]] * classes, list(range(1, classes + 1))
    truth = target(boxes, labels)
    names = [f"class ${label}" for label in labels]
    evaluator = VOCEvaluator({"a": truth}, names)
    evaluator.update(["a"], [Detections(truth.boxes, torch.ones(classes), truth.labels)])
    draw_pr_curves(evaluator.compute(), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        width, height = image.size
        pixels = np.asarray(image.convert("RGB"))
    assert width / height == pytest.approx(3.0 / 3.0 if classes == 1 else 13.4 / 5.5, rel=0.02)
    # The curve of the second threshold lies on the first; both are in the legend.
    for colour in COLOURS[:2]:
        rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (pixels == rgb).all(axis=2).any()
