"""PASCAL VOC evaluation of a whole data set: every class, every threshold, both averages.

Legend: G ground-truth boxes and D detections of a picture, C classes without background.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rfcn.errors import ConfigError
from rfcn.evaluation.average_precision import (
    DEVKIT_TENTHS,
    TENTHS,
    Bools,
    ClassDetections,
    ClassTruths,
    Curve,
    average_precision,
    voc_ap,
)
from rfcn.evaluation.collector import Collector, check_boxes, numbers_of, stack, stack_boxes
from rfcn.evaluation.diagnosis import explain_zero
from rfcn.evaluation.result import Headline
from rfcn.structures import Target

__all__ = ["ClassResult", "VOCEvaluator", "VOCResult", "average_precision", "voc_ap"]


@dataclass(frozen=True)
class ClassResult:
    """What was measured of one class."""

    name: str
    pictures: int
    """Pictures with at least one required (not difficult) box of the class."""
    truths: int
    """Required ground-truth boxes."""
    difficult: int
    """Ground-truth boxes that are ignored."""
    detections: int
    """Detections of the class, those that fell on difficult boxes included."""
    curves: tuple[Curve, ...]
    """One a threshold, in the order of `VOCResult.iou_thresholds`."""

    def figures(self) -> dict[str, float | None]:
        """`AP@0.5`, ... by area, then `AP@0.5/11pt`, ...; None without ground truth."""
        areas = {f"AP@{curve.iou_threshold:g}": curve.ap for curve in self.curves}
        return areas | {f"AP@{one.iou_threshold:g}/11pt": one.ap_11pt for one in self.curves}


@dataclass(frozen=True)
class VOCResult:
    """What was measured, with every count needed to judge it."""

    classes: tuple[ClassResult, ...]
    """In the order of their labels."""
    iou_thresholds: tuple[float, ...]
    pictures: int
    """Pictures of the ground truth."""
    pictures_missing: int
    """Those that were never passed to `update`: they count as pictures without detections."""
    diagnosis: str | None = None
    """A paragraph on the likely cause when the mean AP is (nearly) zero."""

    metric = "voc"

    @property
    def headline(self) -> Headline:
        """The mean AP (area) at the first threshold."""
        first = self.iou_thresholds[0]
        return Headline(f"mAP@{first:g}", self.mean_ap(first))

    @property
    def columns(self) -> int:
        """The areas, and the 11-point figure at the first threshold."""
        return len(self.iou_thresholds) + 1

    @property
    def classes_with_truth(self) -> int:
        """Over how many classes the means are taken."""
        return sum(one.truths > 0 for one in self.classes)

    def mean_ap(self, iou_threshold: float) -> float | None:
        """Mean area AP over the classes with ground truth, 0..1; None without any."""
        curves = self._curves(iou_threshold)
        return _mean([curve.ap for curve in curves])

    def mean_ap_11pt(self, iou_threshold: float) -> float | None:
        """Mean 11-point AP over the classes with ground truth, 0..1; None without any."""
        curves = self._curves(iou_threshold)
        return _mean([curve.ap_11pt for curve in curves])

    def figures(self) -> dict[str, float | None]:
        """The means of what `ClassResult.figures` names."""
        areas = {f"AP@{one:g}": self.mean_ap(one) for one in self.iou_thresholds}
        return areas | {f"AP@{one:g}/11pt": self.mean_ap_11pt(one) for one in self.iou_thresholds}

    def remarks(self) -> list[str]:
        """None: the table says it all."""
        return []

    def summary(self) -> dict[str, float]:
        """Every figure under a flat name: `mAP@0.5`, `mAP@0.5/11pt`, `AP@0.5/<class>`, ...

        A figure that does not exist (no ground truth) is left out.
        """
        figures: dict[str, float | None] = {}
        for threshold in self.iou_thresholds:
            figures[f"mAP@{threshold:g}"] = self.mean_ap(threshold)
            figures[f"mAP@{threshold:g}/11pt"] = self.mean_ap_11pt(threshold)
        for index, threshold in enumerate(self.iou_thresholds):
            for one in self.classes:
                figures[f"AP@{threshold:g}/{one.name}"] = one.curves[index].ap
        return {name: value for name, value in figures.items() if value is not None}

    def _curves(self, iou_threshold: float) -> list[Curve]:
        index = self.iou_thresholds.index(iou_threshold)
        return [one.curves[index] for one in self.classes]


class VOCEvaluator(Collector):
    """Collects detections picture by picture, then scores them all.

    Boxes are half-open pixels of the original pictures, on both sides. A half-open side is as long
    as VOC's own `x2 - x1 + 1` of inclusive corners, so the overlaps are VOC's as they stand.
    `devkit` makes the 11-point figure take its recalls as VOC's tools do, by multiples of the float
    0.1, so that it agrees with them to the last digit. Ties of score are broken by the order of the
    pictures in `ground_truths`, hence the result does not depend on the order of the updates.
    """

    def __init__(
        self,
        ground_truths: Mapping[str, Target],
        class_names: Sequence[str],
        *,
        iou_thresholds: Sequence[float] = (0.5, 0.7),
        devkit: bool = False,
    ) -> None:
        if not all(0 < threshold <= 1 for threshold in iou_thresholds) or not iou_thresholds:
            raise ConfigError(
                f"eval.iou_thresholds is {list(iou_thresholds)}: name at least one overlap, each "
                "above 0 and at most 1."
            )
        super().__init__(ground_truths, class_names)
        self._thresholds = tuple(iou_thresholds)
        self._recall_points = DEVKIT_TENTHS if devkit else TENTHS
        for name, target in ground_truths.items():
            where = f"the ground truth of picture {name!r}"
            check_boxes(target.boxes, target.labels, len(self._class_names), where)
        self._truth_labels = stack([target.labels for target in ground_truths.values()])
        self._truths = ClassTruths(
            boxes=stack_boxes([target.boxes for target in ground_truths.values()]),
            difficult=stack([target.difficult for target in ground_truths.values()]).astype(bool),
            pictures=numbers_of([len(target.labels) for target in ground_truths.values()]),
        )

    def compute(self) -> VOCResult:
        """Scores what was collected; may be called again after more updates."""
        detections, labels = self.collected()
        classes = tuple(
            self._score_class(name, detections, labels == label, self._truth_labels == label)
            for label, name in enumerate(self._class_names, start=1)
        )
        result = VOCResult(
            classes=classes,
            iou_thresholds=self._thresholds,
            pictures=len(self._number),
            pictures_missing=len(self._number) - len(self.detections),
        )
        mean = result.mean_ap(min(self._thresholds))
        diagnosis = explain_zero(mean, detections, labels, self._truths, self._truth_labels)
        return replace(result, diagnosis=diagnosis)

    def _score_class(
        self, name: str, detections: ClassDetections, of_class: Bools, true_of_class: Bools
    ) -> ClassResult:
        mine = detections.take(of_class)
        truths = self._truths.take(true_of_class)
        curves = voc_ap(
            mine, truths, iou_thresholds=self._thresholds, recall_points=self._recall_points
        )
        required = truths.pictures[~truths.difficult]
        return ClassResult(
            name=name,
            pictures=len(np.unique(required)),
            truths=len(required),
            difficult=int(truths.difficult.sum()),
            detections=len(mine.scores),
            curves=tuple(curves),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
