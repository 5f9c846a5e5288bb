"""What every metric gives: figures of each class and over all of them, with what they rest on."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rfcn.evaluation.average_precision import Curve


class Headline(NamedTuple):
    """The one figure that ranks weights and is held against `eval.floor`."""

    name: str
    value: float | None
    """0..1; None without ground truth."""


class ClassScores(Protocol):
    """What was measured of one class."""

    @property
    def name(self) -> str: ...

    @property
    def pictures(self) -> int:
        """Pictures with at least one required box of the class."""

    @property
    def truths(self) -> int:
        """Required ground-truth boxes."""

    @property
    def difficult(self) -> int:
        """Ground-truth boxes that are neither required nor a fault to find."""

    @property
    def detections(self) -> int:
        """Detections of the class."""

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Precision over recall, one a threshold."""

    def figures(self) -> dict[str, float | None]:
        """By name, 0..1; None without ground truth. Every class has the same names."""


class Result(Protocol):
    """What was measured on a data set by one metric."""

    @property
    def metric(self) -> str:
        """`voc` or `coco`."""

    @property
    def classes(self) -> Sequence[ClassScores]:
        """In the order of their labels."""

    @property
    def iou_thresholds(self) -> tuple[float, ...]:
        """Those that `mean_ap` knows."""

    @property
    def pictures(self) -> int:
        """Pictures of the ground truth."""

    @property
    def pictures_missing(self) -> int:
        """Those that were never detected on: they count as pictures without detections."""

    @property
    def diagnosis(self) -> str | None:
        """A paragraph on the likely cause when the AP is (nearly) zero."""

    @property
    def headline(self) -> Headline:
        """The figure that ranks weights."""

    @property
    def columns(self) -> int:
        """How many of the figures, from the first, have a column in the printed table."""

    def figures(self) -> dict[str, float | None]:
        """Over the classes with ground truth, under the names that a class's figures have."""

    def mean_ap(self, iou_threshold: float) -> float | None:
        """Mean AP at one of `iou_thresholds`, 0..1; None without ground truth."""

    def summary(self) -> dict[str, float]:
        """Every figure that exists under a flat name, as logs have them. Those of a class have a
        slash in it."""

    def remarks(self) -> list[str]:
        """Lines that belong below the printed table."""
