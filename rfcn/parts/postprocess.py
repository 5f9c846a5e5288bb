"""From the section of post-processing to what turns outputs into detections."""

from collections.abc import Sequence

from rfcn.config import parts
from rfcn.models.postprocess import PostProcess
from rfcn.models.suppression import BoxVoting, HardNMS, SoftNMS


def build_postprocess(config: parts.PostProcess, box_std: Sequence[float]) -> PostProcess:
    """What turns outputs into detections. box_std: what the box targets were divided by."""
    voting = config.box_voting
    return PostProcess(
        score_threshold=config.score_threshold,
        suppression=build_suppression(config),
        box_voting=None if voting is None else BoxVoting(voting.threshold, voting.scoring),
        max_detections=config.max_detections,
        box_std=box_std,
    )


def build_suppression(config: parts.PostProcess) -> HardNMS | SoftNMS:
    """What chooses among boxes of one object."""
    if isinstance(config.suppression, parts.NMS):
        return HardNMS(config.nms_threshold)
    return SoftNMS(
        method=config.suppression.method,
        threshold=config.nms_threshold,
        sigma=config.suppression.sigma,
        score_threshold=config.score_threshold,
    )
