"""Why a detection has its score: the score maps of its class, and what each bin voted."""

import numpy as np
import torch
from torch import Tensor

from rfcn.errors import ConfigError
from rfcn.inference.detector import Detector
from rfcn.models.detector import TwoStageDetector
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.test_time import OneLook
from rfcn.structures import Features
from rfcn.visualization.score_maps import ScoreMapView

SHIFT = 0.5
"""The miss shown beside a hit is its RoI moved by this share of its sides (paper, figure 4)."""


@torch.inference_mode()
def explain(
    detector: Detector, image: np.ndarray, index: int, proposals: Tensor | None = None
) -> list[ScoreMapView]:
    """The votes behind detection `index` of a picture, and those of its RoI moved off the object.

    The RoI is the proposal the detection was made from; the mean of its votes is the class logit.

    Args:
        image: uint8 RGB [H, W, 3]. index: place in `detector.predict([image])[0]`.
        proposals: what was given to `predict`, if anything.

    Raises:
        IndexError: there are not so many detections.
        ConfigError: the head has no score maps, or a test looks at them more than once.
    """
    model, head = _parts_of(detector)
    batch = detector.batch([image], None if proposals is None else [proposals])
    features = model.features(batch)
    boxes, _ = model.proposer(batch, features)
    outputs = head(features.roi, model.rois(boxes))
    found = model.postprocess(outputs, boxes, batch)[0]
    if not 0 <= index < len(found) or found.rois is None:
        raise IndexError(f"detection {index} of a picture with {len(found)}")
    hit = boxes[0][found.rois[index]]
    label = int(found.labels[index])
    return [
        _view(detector, features, batch.tensor[0], hit, label, "hit"),
        _view(detector, features, batch.tensor[0], _moved_off(hit), label, "the RoI moved off"),
    ]


def _view(
    detector: Detector, features: Features, image: Tensor, roi: Tensor, label: int, title: str
) -> ScoreMapView:
    """The view of one RoI [4] of one picture, uint8 [3, H, W]."""
    model, head = _parts_of(detector)
    maps, votes = head.bins(features.roi, model.rois([roi[None]]))
    score = votes.mean(dim=(2, 3)).softmax(dim=1)[0, label]
    name = detector.class_names[label - 1]
    return ScoreMapView(
        image=image.permute(1, 2, 0).cpu().numpy(),
        roi=roi.cpu(),
        class_name=name,
        maps=maps[0, label].float().cpu(),
        stride=head.pooler.stride,
        votes=votes[0, label].float().cpu(),
        score=float(score),
        title=f"{title}: {name} {float(score):.2f}",
    )


def has_score_maps(detector: Detector) -> bool:
    """Whether there are score maps to explain a detection with: one look at them, not several."""
    head = getattr(detector.model, "roi_head", None)
    return isinstance(head, RFCNHead) and isinstance(detector.tester, OneLook)


def _parts_of(detector: Detector) -> tuple[TwoStageDetector, RFCNHead]:
    model = detector.model
    if not isinstance(model, TwoStageDetector) or not isinstance(model.roi_head, RFCNHead):
        raise ConfigError("this detector has no position-sensitive score maps to show.")
    if not isinstance(detector.tester, OneLook):
        raise ConfigError(
            "this detector looks at a picture more than once (model.test_time), and no one look's "
            "score maps explain what it finds. Set model.test_time.flip=false and so on."
        )
    return model, model.roi_head


def _moved_off(roi: Tensor) -> Tensor:
    """The RoI moved along both axes, towards the side where the picture has more room."""
    sides = (roi[2:] - roi[:2]) * SHIFT
    direction = torch.where(roi[:2] >= sides, -1.0, 1.0)
    return roi + (direction * sides).repeat(2)
