"""Why a detection has its score: the score maps of its class, and what each bin voted."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rfcn.boxes import rescale
from rfcn.build import file_rules
from rfcn.errors import ConfigError
from rfcn.inference.detector import Detector
from rfcn.inference.pictures import PictureSource, read_picture
from rfcn.inference.results import labels_of
from rfcn.models.detector import TwoStageDetector
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.test_time import OneLook
from rfcn.structures import Detections, ImageBatch
from rfcn.visualization.explanation import BACKGROUND, SHIFTS, Explanation, Placement, shifted
from rfcn.visualization.score_maps import ScoreMapView


def explain(
    detector: Detector, image: np.ndarray, index: int, proposals: Tensor | None = None
) -> list[ScoreMapView]:
    """What `explain_detection` says, as two views to draw: the hit, and its RoI moved off.

    Args, errors: as there.
    """
    found = explain_detection(detector, image, index, proposals=proposals)
    return [
        found.view(found.label, found.hit, "hit"),
        found.view(found.label, found.miss, "the RoI moved off"),
    ]


@torch.inference_mode()
def explain_detection(
    detector: Detector,
    image: PictureSource,
    index: int = 0,
    *,
    class_name: str | None = None,
    proposals: Tensor | None = None,
) -> Explanation:
    """The votes behind a detection, at the RoI it was made from and at `SHIFTS` of that RoI.

    The mean of the votes of a class is its logit, the one that `predict` scored the detection with.

    Args:
        image: whatever `predict` takes.
        index: place in `detector.predict(image)`; 0 is the surest.
        class_name: count only detections of this class.
        proposals: [P, 4], what was given to `predict`, if anything.

    Raises:
        IndexError: there are not so many detections.
        ConfigError: the head has no score maps, a test looks at them more than once, or there is no
            such class. ValueError, DataError: the picture cannot be read, as of `predict`.
    """
    model, head = _parts_of(detector)
    label = None if class_name is None else labels_of([class_name], detector.class_names)[0]
    pixels = read_picture(image, file_rules(detector.config.data))
    batch = detector.batch([pixels], None if proposals is None else [proposals])
    features = model.features(batch)
    boxes, _ = model.proposer(batch, features)
    found = model.postprocess(head(features.roi, model.rois(boxes)), boxes, batch)[0]
    place = _place_of(found, index, label, detector.class_names)
    if found.rois is None:
        raise ConfigError(
            "this detector does not say which RoI a detection was made from, so there are no votes "
            "to show."
        )
    rois = shifted(boxes[0][found.rois[place]])
    maps, votes = head.bins(features.roi, model.rois([rois]))
    rows = zip(SHIFTS, rois.cpu(), votes.float().cpu(), strict=True)
    return Explanation(
        image=_picture(batch),
        class_names=(BACKGROUND, *detector.class_names),
        maps=maps[0].float().cpu(),
        stride=head.pooler.stride,
        index=place,
        label=int(found.labels[place]),
        box=rescale(found.boxes[place], batch.original_sizes[0], batch.sizes[0]).cpu(),
        placements=tuple(Placement(*row) for row in rows),
    )


def has_score_maps(detector: Detector) -> bool:
    """Whether there are score maps to explain a detection with: one look at them, not several."""
    head = getattr(detector.predictor, "roi_head", None)
    return isinstance(head, RFCNHead) and isinstance(detector.tester, OneLook)


def _parts_of(detector: Detector) -> tuple[TwoStageDetector, RFCNHead]:
    model = detector.predictor
    if not isinstance(model, TwoStageDetector) or not isinstance(model.roi_head, RFCNHead):
        head = type(getattr(model, "roi_head", model)).__name__
        raise ConfigError(
            f"this detector has no position-sensitive score maps to show: its head, {head}, does "
            "not score a box by votes of its parts. Explain one whose model.roi_head.type is rfcn."
        )
    if not isinstance(detector.tester, OneLook):
        raise ConfigError(
            "this detector looks at a picture more than once (model.test_time), and no one look's "
            "score maps explain what it finds. Set model.test_time.flip=false and so on."
        )
    return model, model.roi_head


def _place_of(found: Detections, index: int, label: int | None, names: Sequence[str]) -> int:
    """The place of the detection among all of the picture."""
    places: Sequence[int] = range(len(found))
    kind = ""
    if label is not None:
        places = (found.labels == label).nonzero()[:, 0].tolist()
        kind = f" of class {names[label - 1]!r}"
    if not 0 <= index < len(places):
        raise IndexError(f"detection {index}{kind} of a picture with {len(places)}")
    return int(places[index])


def _picture(batch: ImageBatch) -> np.ndarray:
    """The one picture of a batch, without its padding: uint8 [H, W, 3]."""
    height, width = batch.sizes[0]
    return np.ascontiguousarray(batch.tensor[0, :, :height, :width].permute(1, 2, 0).cpu().numpy())
