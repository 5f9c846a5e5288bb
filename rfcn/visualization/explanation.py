"""Why a detection has its score, in numbers: the votes of the bins, and what each is worth.

The logit of a class is the mean of its k x k votes (paper, equation 2), and nothing else goes into
the score; so the score without one bin is exact arithmetic, not an approximation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from rfcn.visualization.draw import Picture
from rfcn.visualization.score_maps import ScoreMapView, draw_score_maps

BACKGROUND = "background"
MOVED = 0.5
"""The miss shown beside a hit is its RoI moved by this share of its sides (paper, figure 4)."""
STEPS = (-MOVED, -MOVED / 2, 0.0, MOVED / 2, MOVED)
"""How far a RoI is moved along each axis, in shares of its sides."""
SHIFTS = ((0.0, 0.0), *((x, y) for y, x in product(STEPS, STEPS) if (x, y) != (0, 0)))
"""(right, down) of every place of a RoI that is looked at, its own first."""

HEADING = (
    "How R-FCN scores a box: it is cut into {k} x {k} bins, and each bin looks for its part of the "
    "object, in a score map of its own.\nEvery bin votes (red for the class, blue against it). The "
    "mean of the votes of a class is its logit; softmax over all classes makes it the score."
)


@dataclass(frozen=True)
class Placement:
    """A place of the RoI, and how the bins vote there."""

    shift: tuple[float, float]
    """How far it is from the RoI of the detection, in widths to the right and heights down."""
    roi: Tensor
    """[4] float32, half-open, in pixels of the picture as the network saw it."""
    votes: Tensor
    """[C+1, k, k] float: what each bin read for each class, background first."""

    @property
    def logits(self) -> Tensor:
        """[C+1] float64: the mean of the votes (paper, equation 2)."""
        return self.votes.double().mean(dim=(1, 2))

    @property
    def scores(self) -> Tensor:
        """[C+1] float64, 0..1: softmax of the logits."""
        return self.logits.softmax(dim=0)

    @property
    def scores_without(self) -> Tensor:
        """[C+1, k, k] float64: the scores if bin (i, j) had no vote, for any class: the mean over
        the other bins, softmax anew over all classes. NaN for k = 1, where nothing is left."""
        votes = self.votes.double()
        others = votes[0].numel() - 1
        if others == 0:
            return torch.full_like(votes, torch.nan)
        rest = (votes.sum(dim=(1, 2), keepdim=True) - votes) / others
        return rest.softmax(dim=0)


@dataclass(frozen=True)
class Explanation:
    """All that there is to say of the score of one detection."""

    image: Picture
    """uint8 [H, W, 3], the picture as the network saw it (resized, not padded)."""
    class_names: tuple[str, ...]
    """C + 1 names, `background` first."""
    maps: Tensor
    """[C+1, k, k, h, w] float: the score maps, by class and by row and column of their bin."""
    stride: float
    """Pixels of `image` a cell of the maps."""
    index: int
    """Which detection of the picture it is; 0 is the surest."""
    label: int
    """Its class, 1..C."""
    box: Tensor
    """[4] the detection's box in pixels of `image`: the RoI, moved and resized by the head."""
    placements: tuple[Placement, ...]
    """The RoI that the detection was made from, then the same one moved."""

    @property
    def hit(self) -> Placement:
        """The RoI where the detection was made."""
        return self.placements[0]

    @property
    def k(self) -> int:
        """Bins a side."""
        return self.maps.shape[1]

    @property
    def score(self) -> float:
        """The detection's score, 0..1."""
        return float(self.hit.scores[self.label])

    @property
    def runner_up(self) -> int:
        """The class of the highest score besides its own, 1..C; 0 if there is no other."""
        others = self.hit.logits.clone()
        others[[0, self.label]] = -torch.inf
        return int(others.argmax()) if len(others) > 2 else 0

    @property
    def miss(self) -> Placement:
        """The RoI moved by half its sides along both axes, to where the picture has more room."""
        wanted = miss_shift(self.hit.roi)
        return next(one for one in self.placements if one.shift == wanted)

    def view(self, label: int, placement: Placement, title: str) -> ScoreMapView:
        """What there is to draw of one class and one place."""
        name, score = self.class_names[label], float(placement.scores[label])
        return ScoreMapView(
            image=self.image,
            roi=placement.roi,
            class_name=name,
            maps=self.maps[label],
            stride=self.stride,
            votes=placement.votes[label],
            score=score,
            title=f"{title}: {name} {score:.2f}",
            scores_without=placement.scores_without[label] if self.k > 1 else None,
        )


def shifted(roi: Tensor) -> Tensor:
    """A RoI [4] at each of `SHIFTS`: [25, 4]."""
    moves = roi.new_tensor(SHIFTS) * (roi[2:] - roi[:2])
    return roi + moves.repeat(1, 2)


def miss_shift(roi: Tensor) -> tuple[float, float]:
    """(right, down) of the miss beside a RoI [4]: up and left by half of it, but the other way
    where the picture has no room there."""
    room = roi[:2] >= (roi[2:] - roi[:2]) * MOVED
    right, down = (-MOVED if free else MOVED for free in room.tolist())
    return right, down


def draw_explanation(explanation: Explanation) -> Picture:
    """Three rows, uint8 [h, w, 3]: the class on the object, the runner-up on the same RoI, and the
    class where the RoI was moved off. All share one scale of colours."""
    hit, label = explanation.hit, explanation.label
    rows: Sequence[ScoreMapView] = [
        explanation.view(label, hit, "the detection"),
        explanation.view(explanation.runner_up, hit, "the runner-up, same RoI"),
        explanation.view(label, explanation.miss, "the RoI moved by half its size"),
    ]
    return draw_score_maps(rows, heading=HEADING.format(k=explanation.k))
