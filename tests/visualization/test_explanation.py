"""The arithmetic of an explanation: means, softmax, and the score without a bin."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rfcn.visualization.explanation import (
    Explanation,
    Placement,
    draw_explanation,
    miss_shift,
)

Maker = Callable[..., Explanation]


def placement(votes: list[list[list[float]]]) -> Placement:
    return Placement((0.0, 0.0), torch.tensor([0.0, 0, 8, 8]), torch.tensor(votes))


def test_a_score_worked_out_by_hand() -> None:
    one = placement([[[0.0, 0], [0, 0]], [[1.0, 2], [3, 6]]])
    assert one.logits.tolist() == [0, 3]
    sure = 1 / (1 + math.exp(-3))
    assert one.scores.tolist() == pytest.approx([1 - sure, sure])
    # without the 6 the mean is 2, without the 1 it is 11/3
    without = one.scores_without[1]
    assert float(without[1, 1]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert float(without[0, 0]) == pytest.approx(1 / (1 + math.exp(-11 / 3)))


def test_a_bin_is_left_out_of_every_class() -> None:
    """The background's vote of that bin goes too, and the scores of all classes still sum to 1."""
    one = placement([[[8.0, 0], [0, 0]], [[2.0, 2], [2, 2]]])
    assert float(one.scores[1]) == pytest.approx(0.5)
    assert float(one.scores_without[1, 0, 0]) == pytest.approx(1 / (1 + math.exp(-2)))
    torch.testing.assert_close(one.scores_without.sum(dim=0), torch.ones(2, 2).double())


@pytest.mark.parametrize("k", [2, 3, 7])
def test_against_leaving_bins_out_one_by_one(explanation: Maker, k: int) -> None:
    hit = explanation(k).hit
    for row in range(k):
        for column in range(k):
            keep = torch.ones(k, k, dtype=torch.bool)
            keep[row, column] = False
            scores = hit.votes.double()[:, keep].mean(dim=1).softmax(dim=0)
            torch.testing.assert_close(hit.scores_without[:, row, column], scores)


def test_one_bin_alone_has_no_rest() -> None:
    assert placement([[[1.0]], [[2.0]]]).scores_without.isnan().all()


def test_the_runner_up_is_the_best_other_class(explanation: Maker) -> None:
    one = explanation()
    logits = one.hit.logits
    assert one.runner_up in (2, 3)
    assert logits[one.runner_up] == logits[2:].max()
    assert explanation(names=("cat",)).runner_up == 0, "of one class the other is background"


def test_the_runner_up_may_beat_a_detection_that_is_not_sure(explanation: Maker) -> None:
    one = explanation()
    unsure = replace(one, label=one.runner_up)
    assert unsure.runner_up == 1
    assert unsure.score < float(unsure.hit.scores[1])


@pytest.mark.parametrize(
    ("roi", "shift"),
    [
        ([20.0, 30, 40, 70], (-0.5, -0.5)),  # room on both sides: to the upper left
        ([5.0, 30, 25, 70], (0.5, -0.5)),  # no room at the left
        ([20.0, 0, 40, 40], (-0.5, 0.5)),  # none above
    ],
)
def test_where_the_miss_lies(roi: list[float], shift: tuple[float, float]) -> None:
    assert miss_shift(torch.tensor(roi)) == shift


@pytest.mark.parametrize("k", [1, 3])
def test_the_picture_has_a_row_each_for_hit_runner_up_and_miss(explanation: Maker, k: int) -> None:
    one = explanation(k, names=("größer $x_1$", "b"))
    drawn = draw_explanation(one)
    height, width = drawn.shape[:2]
    assert height == 510 * 3 + 75
    assert width == (1910 if k > 1 else 1530), "without scores where there is no rest"
    assert drawn.std() > 20
