"""COCO evaluation of a whole data set: the twelve figures, and the same of every class.

Source: the rules of COCO's detection challenge, https://cocodataset.org/#detection-eval.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

from rfcn.errors import ConfigError, DataError
from rfcn.evaluation.average_precision import ClassTruths, Curve, Floats, Ints
from rfcn.evaluation.coco_matching import (
    RECALLS,
    THRESHOLDS,
    COCODetections,
    COCOFigures,
    COCOTruths,
    coco_figures,
)
from rfcn.evaluation.coco_official import official_figures
from rfcn.evaluation.collector import Collector, numbers_of
from rfcn.evaluation.diagnosis import explain_zero
from rfcn.evaluation.result import Headline
from rfcn.structures import Target

Tool = Literal["rfcn", "pycocotools", "faster-coco-eval"]

SIZES = ("small", "medium", "large")
DRAWN = (0, 5)
"""The thresholds whose curves are drawn: 0.5 and 0.75."""


@dataclass(frozen=True)
class COCOTruth:
    """What is true of one picture, as COCO's files have it."""

    boxes: Floats
    """[G, 4] x, y, width, height in pixels."""
    labels: Ints
    """[G] 1..C."""
    areas: Floats
    """[G] square pixels of the object itself: they say whether it is small, medium or large."""
    crowd: np.ndarray
    """[G] bool: a region of many objects, in which any number of detections is no fault."""

    @classmethod
    def from_target(cls, target: Target) -> "COCOTruth":
        """Of data without areas and crowds, such as VOC's: the area is that of the box, and a
        difficult object counts as a crowd, the only way in which COCO's code lets one be ignored.
        So any number of detections may lie in it, by the share of each that is inside."""
        corners = target.boxes.cpu().numpy().astype(np.float64)
        sides = corners[:, 2:] - corners[:, :2]
        return cls(
            boxes=np.concatenate([corners[:, :2], sides], axis=1),
            labels=target.labels.cpu().numpy(),
            areas=sides.prod(axis=1),
            crowd=target.difficult.cpu().numpy(),
        )


@dataclass(frozen=True)
class COCOClass:
    """What was measured of one class."""

    name: str
    pictures: int
    """Pictures with at least one required (not crowd) box of the class."""
    truths: int
    """Required ground-truth boxes."""
    difficult: int
    """Crowds, which are ignored."""
    detections: int
    """Detections of the class, those beyond the limit included."""
    curves: tuple[Curve, ...]
    """At IoU 0.5 and 0.75, by 101 recalls."""
    named: Mapping[str, float | None]
    """The twelve figures of this class alone."""

    def figures(self) -> dict[str, float | None]:
        """`AP`, `AP50`, ..., 0..1; None where the class has no such box."""
        return dict(self.named)


@dataclass(frozen=True)
class COCOResult:
    """What was measured, with every count needed to judge it."""

    classes: tuple[COCOClass, ...]
    """In the order of their labels."""
    named: Mapping[str, float | None]
    """The twelve figures over all classes with ground truth."""
    ap_at: tuple[float | None, ...]
    """AP at each of the ten thresholds."""
    pictures: int
    """Pictures of the ground truth."""
    pictures_missing: int
    """Those that were never passed to `update`: they count as pictures without detections."""
    diagnosis: str | None = None
    """A paragraph on the likely cause when AP50 is (nearly) zero."""

    metric = "coco"
    iou_thresholds = tuple(THRESHOLDS.round(2).tolist())
    columns = 3

    @property
    def headline(self) -> Headline:
        """AP: the mean over classes and ten IoU thresholds from 0.5 to 0.95."""
        return Headline("AP", self.named["AP"])

    def figures(self) -> dict[str, float | None]:
        """AP, AP50, AP75, AP_small, AP_medium, AP_large, AR1, AR10, AR100 (or the limits chosen),
        AR_small, AR_medium, AR_large: 0..1; None without such boxes."""
        return dict(self.named)

    def mean_ap(self, iou_threshold: float) -> float | None:
        """AP at one of the ten thresholds, 0..1; None without ground truth."""
        return self.ap_at[self.iou_thresholds.index(iou_threshold)]

    def summary(self) -> dict[str, float]:
        """The twelve figures, then `AP/<class>` and `AP50/<class>`. One that does not exist (no
        ground truth) is left out."""
        figures = self.figures()
        for kind in ("AP", "AP50"):
            figures |= {f"{kind}/{one.name}": one.named[kind] for one in self.classes}
        return {name: value for name, value in figures.items() if value is not None}

    def remarks(self) -> list[str]:
        """The figures that have no column in the table, in percent."""
        figures = list(self.named.items())[self.columns :]
        texts = [f"{name} {'n/a' if one is None else f'{100 * one:.1f}'}" for name, one in figures]
        return [", ".join(texts[at : at + 3]) for at in range(0, len(texts), 3)]


class COCOEvaluator(Collector):
    """Collects detections picture by picture, then scores them all by COCO's rules.

    Ties of score are broken by the order of the pictures in `ground_truths`; COCO's own code takes
    them by rising id, so give them in that order.
    """

    def __init__(
        self,
        ground_truths: Mapping[str, COCOTruth],
        class_names: Sequence[str],
        *,
        category_ids: Sequence[int | str] | None = None,
        max_detections: Sequence[int] = (1, 10, 100),
        tool: Tool = "rfcn",
    ) -> None:
        """category_ids: COCO's number of each class, by which sums are ordered, for the last bit.
        max_detections: best detections of a picture and class that count for the three AR; the
        last is that of all other figures. tool: whose code scores; the figures are equal.

        Raises ConfigError for limits that do not rise, DataError for impossible ground truth.
        """
        rising = all(a < b for a, b in pairwise(max_detections))
        if len(max_detections) != 3 or not rising or max_detections[0] < 1:
            raise ConfigError(
                f"eval.max_detections is {list(max_detections)}: name three rising numbers of "
                "detections, such as 1, 10, 100."
            )
        super().__init__(ground_truths, class_names)
        count = len(self._class_names)
        ids = range(count) if category_ids is None else category_ids
        by_category = sorted(range(count), key=lambda number: id_order(ids[number]))
        self._column = np.argsort(by_category)
        """[C] where the class of label L stands among the category ids: at L - 1."""
        self._limits = tuple(max_detections)
        self._score = scorers()[tool]
        for name, truth in ground_truths.items():
            _check_truth(truth, count, name)
        truths = list(ground_truths.values())
        self._truths = COCOTruths(
            boxes=np.concatenate([np.zeros((0, 4)), *(one.boxes for one in truths)]),
            areas=np.concatenate([np.zeros(0), *(one.areas for one in truths)]),
            crowd=np.concatenate([np.zeros(0, dtype=np.bool_), *(one.crowd for one in truths)]),
            labels=np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in truths)]),
            pictures=numbers_of([len(one.labels) for one in truths]),
        )

    def compute(self) -> COCOResult:
        """Scores what was collected; may be called again after more updates."""
        found, labels = self.collected()
        column = self._column
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        figures = self._score(
            COCODetections(
                boxes=np.concatenate([found.boxes[:, :2], sides], axis=1),
                scores=found.scores,
                labels=column[labels - 1],
                pictures=found.pictures,
            ),
            self._truths._replace(labels=column[self._truths.labels - 1]),
            classes=len(column),
            max_detections=self._limits,
        )
        named = self._named(figures)
        return COCOResult(
            classes=tuple(
                self._of_class(label, figures, int(column[label - 1]), int(np.sum(labels == label)))
                for label in range(1, len(column) + 1)
            ),
            named=named,
            ap_at=tuple(_mean(one[:, :, 0]) for one in figures.precision),
            pictures=len(self._number),
            pictures_missing=len(self._number) - len(self.detections),
            diagnosis=explain_zero(
                named["AP50"], found, labels, self._corners(), self._truths.labels, name="AP50"
            ),
        )

    def _corners(self) -> ClassTruths:
        boxes = self._truths.boxes
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        return ClassTruths(corners, self._truths.crowd, self._truths.pictures)

    def _named(self, figures: COCOFigures) -> dict[str, float | None]:
        """The twelve figures over the classes there are."""
        precision, recall = figures.precision, figures.recall  # [T, R, K, A], [T, K, A, M]
        sizes = list(enumerate(SIZES, start=1))
        return {
            "AP": _mean(precision[:, :, :, 0]),
            "AP50": _mean(precision[0, :, :, 0]),
            "AP75": _mean(precision[5, :, :, 0]),
            **{f"AP_{name}": _mean(precision[:, :, :, area]) for area, name in sizes},
            **{
                f"AR{limit}": _mean(recall[:, :, 0, place])
                for place, limit in enumerate(self._limits)
            },
            **{f"AR_{name}": _mean(recall[:, :, area, -1]) for area, name in sizes},
        }

    def _of_class(
        self, label: int, figures: COCOFigures, column: int, detections: int
    ) -> COCOClass:
        mine = COCOFigures(
            precision=figures.precision[:, :, [column]],
            scores=figures.scores[:, :, [column]],
            recall=figures.recall[:, [column]],
            required=figures.required[[column]],
        )
        truths = self._truths.take(self._truths.labels == label)
        return COCOClass(
            name=self._class_names[label - 1],
            pictures=len(np.unique(truths.pictures[~truths.crowd])),
            truths=int(np.count_nonzero(~truths.crowd)),
            difficult=int(truths.crowd.sum()),
            detections=detections,
            curves=tuple(_curve(mine, place) for place in DRAWN),
            named=self._named(mine),
        )


def id_order(id_: int | str) -> tuple[bool, int | str]:
    """Sorts ids as COCO's code does: numbers by value, before texts."""
    return isinstance(id_, str), id_


def scorers() -> dict[Tool, Callable[..., COCOFigures]]:
    """Whose code gives the figures; all give the same ones."""
    return {
        "rfcn": coco_figures,
        "pycocotools": partial(official_figures, tool="pycocotools"),
        "faster-coco-eval": partial(official_figures, tool="faster-coco-eval"),
    }


def _curve(figures: COCOFigures, place: int) -> Curve:
    """Of one class, at a threshold by its place."""
    precision, scores = figures.precision[place, :, 0, 0], figures.scores[place, :, 0, 0]
    threshold, ap = COCOResult.iou_thresholds[place], _mean(precision)
    known = len(RECALLS) if ap is not None else 0
    return Curve(threshold, RECALLS[:known], precision[:known], scores[:known], ap, None)


def _mean(values: Floats) -> float | None:
    """Of those that exist."""
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else None


def _check_truth(truth: COCOTruth, classes: int, name: str) -> None:
    where = f"the ground truth of picture {name!r}"
    if not (np.isfinite(truth.boxes).all() and np.isfinite(truth.areas).all()):
        raise DataError(f"a box or an area in {where} is NaN or infinite: nothing was scored.")
    if (truth.boxes[:, 2:] < 0).any():
        raise DataError(f"a box in {where} has a negative side: boxes are (x, y, width, height).")
    if ((truth.labels < 1) | (truth.labels > classes)).any():
        raise DataError(f"a label in {where} is not one of the {classes} classes, 1..{classes}.")
