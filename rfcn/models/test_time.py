"""What a test may do beyond one look: several scales, the mirror, regressing boxes again.

These are the test-time parts of "Faster R-CNN +++" (He et al., 2016, appendix B), which the paper
compares with; each is an argument.

Legend: N pictures, P proposals of a picture, S box sets, C classes without background.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Literal

import torch
from torch import Tensor, nn

from rfcn.boxes import area, mirror, rescale
from rfcn.models.detector import TwoStageDetector
from rfcn.ops.nms import nms
from rfcn.structures import Candidates, Detections, Features, ImageBatch, Pyramid

CANONICAL_AREA = 224.0**2
"""A RoI is read at the scale where its area is nearest to this (SPPnet; py-R-FCN)."""

Assignment = Literal["nearest", "adjacent", "every"]
READ_AT = {"nearest": 1, "adjacent": 2}
"""At how many sizes a RoI is read."""


class OneLook(nn.Module):
    """The plain test: a detector on the one size there is."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pictures: Pyramid) -> list[Detections]:
        """The detections of each picture, in its original pixels."""
        (batch,) = pictures.levels
        found: list[Detections] = self.detector(batch)
        return found


class View:
    """One look at the pictures: a level of the pyramid, as it is or in the mirror."""

    def __init__(self, batch: ImageBatch, features: Features, mirrored: bool) -> None:
        self.batch = batch
        self.features = features
        self.mirrored = mirrored

    def boxes(self, boxes: Tensor, picture: int) -> Tensor:
        """Boxes of the original picture, [P, 4], as this view shows them."""
        size = self.batch.sizes[picture]
        seen = rescale(boxes, self.batch.original_sizes[picture], size)
        return mirror(seen, size[1]) if self.mirrored else seen

    def original(self, boxes: Tensor, picture: int) -> Tensor:
        """The inverse for boxes that are in original pixels already but for the mirror."""
        width = self.batch.original_sizes[picture][1]
        return mirror(boxes, width) if self.mirrored else boxes


class TestTimeDetector(nn.Module):
    """A two-stage detector that looks more than once.

    Args:
        detector: what looks. Its post-processing chooses among what all looks found.
        assignment: with several scales, each RoI is read at the one where its area is nearest to
            224 x 224 pixels (`nearest`); at the two nearest, where the head's layers read the
            larger of what was described at each, number by number (`adjacent`: maxout, as in He et
            al.; for heads that describe RoIs); or at `every` one.
        flip: look at the mirrored pictures too, and average scores and boxes.
        box_iterations: how often regressed boxes become RoIs again; what they say joins what the
            first ones said.
        proposal_nms: IoU above which the later of two proposals of different scales is dropped.
    """

    __test__ = False  # pytest: not a test, whatever its name

    def __init__(
        self,
        detector: TwoStageDetector,
        *,
        assignment: Assignment = "nearest",
        flip: bool = False,
        box_iterations: int = 0,
        proposal_nms: float = 0.7,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.assignment = assignment
        self.flip = flip
        self.box_iterations = box_iterations
        self.proposal_nms = proposal_nms

    def forward(self, pictures: Pyramid) -> list[Detections]:
        """The detections of each picture, in its original pixels."""
        levels = [self._views(batch) for batch in pictures.levels]
        proposals = self._proposals([views[0] for views in levels])
        found = self._candidates(levels, proposals)
        latest = found
        for _ in range(self.box_iterations):
            again = self._candidates(levels, [foreground_boxes(one) for one in latest])
            latest = [
                one._replace(rois=before.rois[one.rois])
                for one, before in zip(again, latest, strict=True)
            ]
            found = [join(pair) for pair in zip(found, latest, strict=True)]
        return [self.detector.postprocess.select(one) for one in found]

    def _views(self, batch: ImageBatch) -> list[View]:
        """The level as it is and, where wanted, in the mirror."""
        views = [View(batch, self.detector.features(batch), mirrored=False)]
        if self.flip:
            turned = mirror_pictures(batch)
            views.append(View(turned, self.detector.features(turned), mirrored=True))
        return views

    def _proposals(self, views: Sequence[View]) -> list[Tensor]:
        """The proposals of all scales together, N tensors [P_i, 4] in original pixels."""
        by_scale = []
        for view in views:
            proposals, _ = self.detector.proposer(view.batch, view.features)
            sizes = zip(view.batch.sizes, view.batch.original_sizes, strict=True)
            pairs = zip(proposals, sizes, strict=True)
            by_scale.append([rescale(boxes, *sides) for boxes, sides in pairs])
        return [self._best_of_scales(boxes) for boxes in zip(*by_scale, strict=True)]

    def _best_of_scales(self, by_scale: Sequence[Tensor]) -> Tensor:
        """The proposals of one picture: the best of each scale first, none twice, no more than one
        scale gave."""
        if len(by_scale) == 1:
            return by_scale[0]
        boxes = torch.cat(list(by_scale))
        ranks = torch.cat([torch.arange(len(one), device=one.device) for one in by_scale])
        most = max(len(one) for one in by_scale)
        return boxes[nms(boxes, -ranks.float(), self.proposal_nms, limit=most)]

    def _candidates(
        self, levels: Sequence[Sequence[View]], rois: Sequence[Tensor]
    ) -> list[Candidates]:
        """What the RoIs of each picture (original pixels) say, each at the scale it belongs to."""
        places = [self._places(levels, boxes, picture) for picture, boxes in enumerate(rois)]
        if self.assignment == "adjacent" and len(levels) > 1:
            sides = zip(*levels, strict=True)  # as it is, in the mirror
            looks = [self._merged_look(views, rois, places) for views in sides]
            return [average(one) for one in zip(*looks, strict=True)]
        parts = []
        for level, views in enumerate(levels):
            here = [places_of_picture[level] for places_of_picture in places]
            boxes = [one[place] for one, place in zip(rois, here, strict=True)]
            looks = [self._look(view, boxes) for view in views]
            pairs = zip(zip(*looks, strict=True), here, strict=True)
            parts.append([average(one)._replace(rois=place) for one, place in pairs])
        return [in_order(join(one)) for one in zip(*parts, strict=True)]

    def _places(
        self, levels: Sequence[Sequence[View]], boxes: Tensor, picture: int
    ) -> list[Tensor]:
        """For each level, which RoIs of a picture are read there: [P_level] int64."""
        everywhere = torch.arange(len(boxes), device=boxes.device)
        if self.assignment == "every" or len(levels) == 1:
            return [everywhere for _ in levels]
        areas = torch.stack([area(views[0].boxes(boxes, picture)) for views in levels])
        nearest = (areas - CANONICAL_AREA).abs().argsort(dim=0, stable=True)
        chosen = nearest[: READ_AT[self.assignment]]
        return [everywhere[(chosen == level).any(dim=0)] for level in range(len(levels))]

    def _look(self, view: View, rois: Sequence[Tensor]) -> list[Candidates]:
        """What RoIs in original pixels say in one view."""
        seen = [view.boxes(boxes, picture) for picture, boxes in enumerate(rois)]
        outputs = self.detector.look(view.batch, view.features, seen)
        found = self.detector.postprocess.candidates(outputs, seen, view.batch)
        return self._upright(view, found)

    def _merged_look(
        self,
        views: Sequence[View],
        rois: Sequence[Tensor],
        places: Sequence[Sequence[Tensor]],
    ) -> list[Candidates]:
        """What RoIs in original pixels say, each described in several views of one side."""
        best: list[Tensor] = []
        for level, view in enumerate(views):
            here = [of_picture[level] for of_picture in places]
            boxes = [one[place] for one, place in zip(rois, here, strict=True)]
            seen = [view.boxes(one, picture) for picture, one in enumerate(boxes)]
            regions = self.detector.regions(view.batch, seen)
            described = self.detector.describing_head.describe(view.features.roi, *regions)
            if not best:
                best = [described.new_full((len(one), described.shape[1]), -inf) for one in rois]
            parts = described.split([len(one) for one in seen])
            for merged, place, part in zip(best, here, parts, strict=True):
                merged[place] = torch.maximum(merged[place], part)
        outputs = self.detector.describing_head.judge(torch.cat(best))
        whole = replace(views[0].batch, sizes=views[0].batch.original_sizes)
        shown = [views[0].original(boxes, picture) for picture, boxes in enumerate(rois)]
        return self._upright(views[0], self.detector.postprocess.candidates(outputs, shown, whole))

    def _upright(self, view: View, found: Sequence[Candidates]) -> list[Candidates]:
        """What was found in a view, in the original picture, not in its mirror."""
        return [
            one._replace(boxes=view.original(one.boxes, picture))
            for picture, one in enumerate(found)
        ]


def mirror_pictures(batch: ImageBatch) -> ImageBatch:
    """The pictures turned left to right inside their padding."""
    turned = batch.tensor.clone()
    for picture, (_, width) in zip(turned, batch.sizes, strict=True):
        picture[..., :width] = picture[..., :width].flip(-1)
    return replace(batch, tensor=turned)


def foreground_boxes(candidates: Candidates) -> Tensor:
    """The regressed box of each RoI, [P, 4]: the one set, the foreground's, or its best class's."""
    boxes, scores, _ = candidates
    best = scores[:, 1:].argmax(dim=1) + 1 if len(scores) else scores.new_zeros(0).long()
    rows = torch.arange(len(boxes), device=boxes.device)
    return boxes[rows, best.clamp(max=boxes.shape[1] - 1)]


def average(looks: Sequence[Candidates]) -> Candidates:
    """The mean of what several views say of the same RoIs."""
    boxes = torch.stack([one.boxes for one in looks]).mean(dim=0)
    scores = torch.stack([one.scores for one in looks]).mean(dim=0)
    return Candidates(boxes, scores, looks[0].rois)


def join(parts: Sequence[Candidates]) -> Candidates:
    """What several groups of RoIs of one picture say."""
    return Candidates(*(torch.cat(list(column)) for column in zip(*parts, strict=True)))


def in_order(candidates: Candidates) -> Candidates:
    """Sorted by RoI, so that equal scores are decided as without scales."""
    order = candidates.rois.argsort(stable=True)
    return Candidates(*(column[order] for column in candidates))
