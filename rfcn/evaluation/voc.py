"""PASCAL VOC evaluation of a whole data set: every class, every threshold, both averages.

Legend: G ground-truth boxes and D detections of a picture, C classes without background.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rfcn.errors import ConfigError, DataError
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
from rfcn.evaluation.diagnosis import explain_zero
from rfcn.structures import Detections, Target

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


class VOCEvaluator:
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
        self._class_names = tuple(class_names)
        self._thresholds = tuple(iou_thresholds)
        self._recall_points = DEVKIT_TENTHS if devkit else TENTHS
        self._number = {name: number for number, name in enumerate(ground_truths)}
        self._detections: dict[str, Detections] = {}
        for name, target in ground_truths.items():
            where = f"the ground truth of picture {name!r}"
            _check_boxes(target.boxes, target.labels, len(self._class_names), where)
        self._truth_labels = _stack([target.labels for target in ground_truths.values()])
        self._truths = ClassTruths(
            boxes=_stack_boxes([target.boxes for target in ground_truths.values()]),
            difficult=_stack([target.difficult for target in ground_truths.values()]).astype(bool),
            pictures=_numbers([len(target.labels) for target in ground_truths.values()]),
        )

    @property
    def detections(self) -> Mapping[str, Detections]:
        """What was collected so far, by picture, on the CPU."""
        return self._detections

    def reset(self) -> None:
        """Forgets all detections."""
        self._detections.clear()

    def update(self, ids: Sequence[str], detections: Sequence[Detections]) -> None:
        """Adds the detections of some pictures, which keep the evaluator's memory, not the GPU's.

        Raises DataError for an unknown picture, a picture given twice, a label outside 1..C, a
        score or a box that is not finite, and a box with a negative side.
        """
        if len(ids) != len(detections):
            raise ValueError(f"{len(ids)} pictures but detections of {len(detections)}")
        for name, found in zip(ids, detections, strict=True):
            if name not in self._number:
                raise DataError(
                    f"picture {name!r} is not in the ground truth, which holds "
                    f"{len(self._number)} pictures{_example(self._number)}: detections and ground "
                    "truth must be of the same data set and split."
                )
            if name in self._detections:
                raise DataError(f"picture {name!r} came twice: each may be scored only once.")
            found = found.to("cpu")
            where = f"the detections of picture {name!r}"
            _check_boxes(found.boxes, found.labels, len(self._class_names), where)
            if not bool(found.scores.isfinite().all()):
                raise DataError(f"a score in {where} is NaN or infinite: nothing was scored.")
            self._detections[name] = found

    def compute(self) -> VOCResult:
        """Scores what was collected; may be called again after more updates."""
        names = [name for name in self._number if name in self._detections]
        found = [self._detections[name] for name in names]
        labels = _stack([one.labels for one in found])
        numbers = np.array([self._number[name] for name in names], dtype=np.int64)
        detections = ClassDetections(
            boxes=_stack_boxes([one.boxes for one in found]),
            scores=_stack([one.scores for one in found]).astype(np.float64),
            pictures=numbers[_numbers([len(one) for one in found])],
        )
        classes = tuple(
            self._score_class(name, detections, labels == label, self._truth_labels == label)
            for label, name in enumerate(self._class_names, start=1)
        )
        result = VOCResult(
            classes=classes,
            iou_thresholds=self._thresholds,
            pictures=len(self._number),
            pictures_missing=len(self._number) - len(names),
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


def _check_boxes(boxes: torch.Tensor, labels: torch.Tensor, classes: int, where: str) -> None:
    if not bool(boxes.isfinite().all()):
        raise DataError(f"a box in {where} is NaN or infinite: nothing was scored.")
    reversed_ = (boxes[:, 2:] < boxes[:, :2]).any(dim=1)
    if bool(reversed_.any()):
        box = boxes[reversed_][0].tolist()
        raise DataError(
            f"a box in {where} has a negative side, {box}: boxes are (x1, y1, x2, y2), not "
            "(x, y, width, height) or a centre and two sides."
        )
    unknown = (labels < 1) | (labels > classes)
    if bool(unknown.any()):
        raise DataError(
            f"label {int(labels[unknown][0])} in {where} is unknown: with {classes} classes the "
            f"labels are 1..{classes} (0 is background)."
        )


def _example(names: Mapping[str, int]) -> str:
    return f" (such as {next(iter(names))!r})" if names else ""


def _stack(columns: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat([*columns, torch.zeros(0, dtype=torch.int64)]).cpu().numpy()


def _stack_boxes(boxes: Sequence[torch.Tensor]) -> np.ndarray:
    stacked = torch.cat([one.reshape(-1, 4) for one in boxes]) if boxes else torch.zeros(0, 4)
    return stacked.cpu().numpy().astype(np.float64)


def _numbers(lengths: Sequence[int]) -> np.ndarray:
    """0 repeated lengths[0] times, 1 repeated lengths[1] times, ..."""
    return np.repeat(np.arange(len(lengths)), np.array(lengths, dtype=np.int64))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
