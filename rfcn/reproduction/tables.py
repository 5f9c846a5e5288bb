"""The paper's tables, row by row: the config that makes each, and the figure it had there.

Figures are mAP@0.5 in percent on VOC 2007 test (arXiv 1605.06409). Where the paper's text does not
confirm a number that is quoted for it, the row says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Row:
    """One system of a table."""

    name: str
    """Short, for folders and `--rows`."""
    title: str
    """As the table calls it."""
    config: str
    """The shipped config that is this row at the paper's scale."""
    paper: float | None = None
    """mAP@0.5 in percent; None where the paper has none."""
    remark: str = ""
    """What a reader must know of the paper's figure."""
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Overrides of this row at a scale: scale -> `key=value`."""


class Margin(NamedTuple):
    """What a table must show, at every seed: one row above another by so much."""

    better: str
    worse: str
    points: float
    """mAP@0.5, in percent."""


@dataclass(frozen=True)
class Scale:
    """How much of the paper's work is done."""

    summary: str
    over: tuple[str, ...] = ()
    """Config files laid on that of the row."""
    fewer_rois: int = 1
    """What the counts of RoIs are divided by."""
    generated: str | None = None
    """Kind of the generated data, drawn when it is not there."""


SCALES = {
    "paper": Scale("VOC 07+12, as published: days on GPUs"),
    "mini": Scale(
        "ResNet-18 on a small real subset of VOC: hours on a CPU", over=("scales/mini.yaml",)
    ),
    "toy": Scale(
        "a tiny backbone on drawn pictures, a tenth of the RoIs: minutes a row on a CPU",
        over=("scales/toy.yaml",),
        fewer_rois=10,
        generated="shapes",
    ),
}


@dataclass(frozen=True)
class Table:
    """Rows that are compared with each other."""

    title: str
    rows: tuple[Row, ...]
    seeds: int = 1
    margins: tuple[Margin, ...] = ()
    scales: Mapping[str, Scale] = field(default_factory=lambda: SCALES)
    """Those at which it can be run."""


_UNVERIFIED = "quoted for the paper, not confirmed by its text"


def _smaller(depth: int) -> dict[str, tuple[str, ...]]:
    """A row of the depth table at toy scale: a shallower ResNet, from scratch."""
    backbone = {"type": "resnet", "depth": depth, "weights": "none", "frozen_stages": 0}
    words = [f"model.backbone.{key}={value}" for key, value in backbone.items()]
    return {"toy": (*words, "model.backbone.conv5_norm=group")}


_TWO = "paper/table2/"
_POSITION = Scale(
    "classes told apart by position alone, seen by cells of 15 pixels: minutes a row on a CPU",
    over=("scales/position.yaml",),
    generated="position",
)
_NARROW = {"toy": ("model.roi_head.reduction=128",)}

TABLES: dict[str, Table] = {
    "position": Table(
        "Position (the paper's point alone: no depth to learn it by)",
        (
            Row(
                *("k1", "R-FCN, k = 1", _TWO + "rfcn_1x1.yaml"),
                remark="fails",
                settings=_NARROW,
            ),
            Row("k3", "R-FCN, k = 3", _TWO + "rfcn_3x3.yaml", 75.5, settings=_NARROW),
            Row("k7", "R-FCN, k = 7", _TWO + "rfcn_7x7.yaml", 76.6, settings=_NARROW),
            Row("naive1", "naive Faster R-CNN, 1 x 1", _TWO + "naive_frcnn_1x1.yaml", 61.7),
            Row("naive7", "naive Faster R-CNN, 7 x 7", _TWO + "naive_frcnn_7x7.yaml", 68.9),
            Row(
                *("k1_deep", "R-FCN, k = 1, on conv5", _TWO + "rfcn_1x1.yaml"),
                remark="control: cells of 135 pixels see whole objects",
                settings={"toy": (*_NARROW["toy"], "model.roi_head.features=conv5")},
            ),
        ),
        seeds=3,
        margins=(
            Margin("k3", "k1", 10),
            Margin("k3", "naive1", 10),
            Margin("k7", "k1", 10),
            Margin("k7", "naive1", 10),
        ),
        scales={"toy": _POSITION},
    ),
    "depth": Table(
        "Depth (R-FCN, OHEM)",
        (
            Row(
                *("r50", "ResNet-50 (toy: 18)", "rfcn/r50_voc_ohem.yaml", 77.0, _UNVERIFIED),
                settings=_smaller(18),
            ),
            Row(
                *("r101", "ResNet-101 (toy: 34)", "rfcn/r101_voc_ohem.yaml", 79.5),
                settings=_smaller(34),
            ),
            Row(
                *("r152", "ResNet-152 (toy: 50)", "rfcn/r152_voc_ohem.yaml", 79.6, _UNVERIFIED),
                settings=_smaller(50),
            ),
        ),
    ),
}
