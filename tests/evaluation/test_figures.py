"""The pictures of an analysis."""

import numpy as np
import pytest
from PIL import Image

from rfcn.evaluation.analysis import analyse
from rfcn.evaluation.figures import BLUE, ORANGE, draw_figures
from rfcn.evaluation.proposal_recall import proposal_recall
from rfcn.evaluation.scored import gather


def colours(path):
    with Image.open(path) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}


def rgb(name):
    return tuple(int(name[at : at + 2], 16) for at in (1, 3, 5))


@pytest.mark.parametrize("classes", [3, 26])
def test_each_figure_shows_something(slow, tmp_path, classes):
    scored = gather(*slow.random_scene(0), [f"class $x_{n}" for n in range(classes)])
    boxes = [scored.truths.boxes[scored.truths.pictures == n] for n in range(8)]
    recall = proposal_recall(boxes, scored.truths, most=10)
    analysis = analyse(scored, np.full((8, 2), 100), proposals=recall, resamples=2)
    paths = draw_figures(analysis, tmp_path)
    names = ["confusion.png", "errors.png", "calibration.png", "proposal_recall.png"]
    assert [path.name for path in paths] == names
    assert rgb(BLUE) in colours(paths[1])
    assert {rgb(BLUE), rgb(ORANGE)} <= colours(paths[2])
    assert {rgb(BLUE), rgb(ORANGE)} <= colours(paths[3])
    assert len(colours(paths[0])) > 50


def test_nothing_found_and_nothing_true_is_drawn_too(target, tmp_path):
    scored = gather({"a": target([], [])}, {}, ["cat"])
    paths = draw_figures(analyse(scored, np.full((1, 2), 9), resamples=2), tmp_path)
    assert [path.name for path in paths] == ["confusion.png", "errors.png", "calibration.png"]
