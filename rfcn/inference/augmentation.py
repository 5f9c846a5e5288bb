"""What a test can do beyond one look, by short names: each stands for settings of the config."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfcn.config.schema import Config

PUBLISHED_SIDES = (200, 400, 600, 800, 1000)
"""Short sides of the multi-scale test (paper, table 6), around 600."""
PUBLISHED_SIDE = 600

NAMES = {
    "flip": "look at the mirrored picture too, and average",
    "scales": "look at five sizes, 1/3 to 5/3 of the short side, each RoI where its area is "
    "nearest to 224 x 224 pixels (paper, table 6)",
    "iterate": "let the boxes that were found be RoIs again (He et al., 2016, appendix B)",
    "soft-nms": "lower the scores of doubles instead of dropping them (arXiv 1704.04503)",
    "voting": "move each box to the mean of those that overlap it (arXiv 1505.01749)",
}
"""The names, and what they mean."""


def overrides_of(names: Sequence[str], config: "Config") -> list[str]:
    """The settings `key=value` behind some of `NAMES`, for `override_config`."""
    scale = config.data.test_short_side / PUBLISHED_SIDE
    sides = [max(1, round(side * scale)) for side in PUBLISHED_SIDES]
    settings = {
        "flip": "model.test_time.flip=true",
        "scales": f"model.test_time.short_sides={sides}",
        "iterate": "model.test_time.box_iterations=1",
        "soft-nms": "model.postprocess.suppression.type=soft_nms",
        "voting": "model.postprocess.box_voting={}",
    }
    return [settings[name] for name in dict.fromkeys(names)]
