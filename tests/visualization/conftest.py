"""What tests of pictures share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rfcn.visualization.explanation import SHIFTS, Explanation, Placement, shifted


@pytest.fixture
def explanation() -> Callable[..., Explanation]:
    """Makes one of random maps and votes: `explanation(k=7, names=("a", "b"))`; class 1 wins."""

    def make(k: int = 3, names: tuple[str, ...] = ("cat", "dog", "red <fox>")) -> Explanation:
        chance = torch.Generator().manual_seed(k)
        classes = len(names) + 1
        votes = torch.randn(len(SHIFTS), classes, k, k, generator=chance) * 3
        votes[0, 1] += 3
        rois = shifted(torch.tensor([40.0, 30, 88, 78]))
        return Explanation(
            image=np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8),
            class_names=("background", *names),
            maps=torch.randn(classes, k, k, 12, 16, generator=chance) * 3,
            stride=8,
            index=2,
            label=1,
            box=torch.tensor([38.0, 31, 90, 80]),
            placements=tuple(
                Placement(shift, roi, one)
                for shift, roi, one in zip(SHIFTS, rois, votes, strict=True)
            ),
        )

    return make
