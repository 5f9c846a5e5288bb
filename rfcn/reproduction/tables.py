"""The paper's tables, row by row: the config that makes each, and the figure it had there.

Figures are mAP@0.5 in percent (arXiv 1605.06409), on VOC 2007 test where the table names nothing
else. Where the paper's text does not confirm a number that is quoted for it, the row says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Overrides of this row at a scale: scale -> `key=value`."""
    over: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Config files laid on this row at a scale, in the place of the scale's own."""
    seconds: tuple[float | None, float | None] = (None, None)
    """A picture in training and at test, on the paper's K40."""
    scales: tuple[str, ...] | None = None
    """Those at which this row can be run; None: all of its table."""


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
    searched: bool = False
    """Whether proposals that are not there are made, by Selective Search."""


SCALES = {
    "paper": Scale("VOC 07+12, as published: days on GPUs"),
    "mini": Scale(
        "ResNet-18 on a small real subset of VOC: hours on a CPU",
        over=("scales/mini.yaml",),
        searched=True,
    ),
    "toy": Scale(
        "a tiny backbone on drawn pictures, a tenth of the RoIs: minutes a row on a CPU",
        over=("scales/toy.yaml",),
        fewer_rois=10,
        generated="shapes",
        searched=True,
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

    def rows_at(self, scale: str) -> list[Row]:
        """Those that can be run at a scale."""
        return [row for row in self.rows if row.scales is None or scale in row.scales]


_UNVERIFIED = "quoted for the paper, not confirmed by its text"


def _settings(**scales: str) -> dict[str, tuple[str, ...]]:
    """Overrides of a row: scale="key=value key=value"."""
    return {scale: tuple(words.split()) for scale, words in scales.items()}


def _smaller(depth: int) -> dict[str, tuple[str, ...]]:
    """A row of the depth table at toy scale: a shallower ResNet, from scratch."""
    return _settings(toy=f"{_NARROW} model.backbone.depth={depth}")


_NARROW = "model.roi_head.reduction=128"
_RFCN = _settings(toy=_NARROW)
_MULTI_SCALE = _settings(
    toy=f"{_NARROW} data.train_short_sides=[128,160,192,224,256] data.max_long_side=342",
    mini="data.train_short_sides=[213,267,320,373,427] data.max_long_side=711",
)
_PAPER_ONLY = ("paper",)


def _searched(scale: str) -> str:
    """Overrides: proposals found by `rfcn make-proposals`' search, in files of this scale."""
    files = " ".join(
        f"data.proposals.{part}=[data/selective_search/{scale}_{part}.npz]"
        for part in ("train", "val")
    )
    return f"{files} data.proposals.corners=x1y1x2y2 data.proposals.pixels=half_open"


_POSITION = Table(
    "Position (the paper's point alone: no depth to learn it by)",
    (
        Row(
            *("k1", "R-FCN, k = 1", "paper/table2/rfcn_1x1.yaml"),
            remark="fails",
            settings=_RFCN,
        ),
        Row("k3", "R-FCN, k = 3", "paper/table2/rfcn_3x3.yaml", 75.5, settings=_RFCN),
        Row("k7", "R-FCN, k = 7", "paper/table2/rfcn_7x7.yaml", 76.6, settings=_RFCN),
        Row("naive1", "naive Faster R-CNN, 1 x 1", "paper/table2/naive_frcnn_1x1.yaml", 61.7),
        Row("naive7", "naive Faster R-CNN, 7 x 7", "paper/table2/naive_frcnn_7x7.yaml", 68.9),
        Row(
            *("k1_deep", "R-FCN, k = 1, on conv5", "paper/table2/rfcn_1x1.yaml"),
            remark="control: cells of 135 pixels see whole objects",
            settings=_settings(toy=f"{_NARROW} model.roi_head.features=conv5"),
        ),
    ),
    seeds=3,
    margins=(
        Margin("k3", "k1", 10),
        Margin("k3", "naive1", 10),
        Margin("k7", "k1", 10),
        Margin("k7", "naive1", 10),
    ),
    scales={
        "toy": Scale(
            "classes told apart by position alone, cells of 15 pixels: minutes a row on a CPU",
            over=("scales/position.yaml",),
            generated="position",
        )
    },
)

_A_TROUS = Table(
    "Features with and without the hole algorithm (R-FCN, k = 7, no OHEM)",
    (
        Row("conv4", "conv4, stride 16", "paper/a_trous/conv4.yaml", 72.5, settings=_RFCN),
        Row(
            *("stride_32", "conv5, stride 32", "paper/a_trous/conv5_stride_32.yaml", 74.0),
            settings=_RFCN,
        ),
        Row(
            *("a_trous", "conv5, à trous, stride 16", "paper/a_trous/conv5_a_trous.yaml", 76.6),
            settings=_RFCN,
        ),
    ),
)

_TABLE_2 = Table(
    "Table 2: fully convolutional strategies (no OHEM)",
    (
        Row("naive1", "naive Faster R-CNN, 1 x 1", "paper/table2/naive_frcnn_1x1.yaml", 61.7),
        Row("naive7", "naive Faster R-CNN, 7 x 7", "paper/table2/naive_frcnn_7x7.yaml", 68.9),
        Row("class_rpn", "class-specific RPN", "paper/table2/class_rpn.yaml", 67.6),
        Row(
            *("k1", "R-FCN, k = 1", "paper/table2/rfcn_1x1.yaml"),
            remark="fails",
            settings=_RFCN,
        ),
        Row("k3", "R-FCN, k = 3", "paper/table2/rfcn_3x3.yaml", 75.5, settings=_RFCN),
        Row("k7", "R-FCN, k = 7", "paper/table2/rfcn_7x7.yaml", 76.6, settings=_RFCN),
    ),
)

_TABLE_3 = Table(
    "Table 3: Faster R-CNN with conv5 on every RoI, and R-FCN",
    (
        Row("frcnn", "Faster R-CNN", "paper/table3/frcnn.yaml", 76.4, seconds=(1.2, 0.42)),
        Row("rfcn", "R-FCN", "paper/table3/rfcn.yaml", 76.6, seconds=(0.45, 0.17), settings=_RFCN),
        Row(
            *("frcnn_300", "Faster R-CNN, OHEM of 300", "paper/table3/frcnn_ohem_300.yaml", 79.3),
            seconds=(1.5, 0.42),
        ),
        Row(
            *("rfcn_300", "R-FCN, OHEM of 300", "paper/table3/rfcn_ohem_300.yaml", 79.5),
            seconds=(0.45, 0.17),
            settings=_RFCN,
        ),
        Row(
            *("frcnn_2000", "Faster R-CNN, OHEM of 2000", "paper/table3/frcnn_ohem_2000.yaml"),
            remark="N/A",
            seconds=(2.9, 0.42),
        ),
        Row(
            *("rfcn_2000", "R-FCN, OHEM of 2000", "paper/table3/rfcn_ohem_2000.yaml", 79.3),
            seconds=(0.46, 0.17),
            settings=_RFCN,
        ),
    ),
)

_TABLE_4 = Table(
    "Table 4: VOC 2007 test",
    (
        Row("frcnn", "Faster R-CNN", "paper/table4/frcnn.yaml", 76.4, seconds=(None, 0.42)),
        Row(
            *("rfcn", "R-FCN", "paper/table4/rfcn.yaml", 79.5),
            seconds=(None, 0.17),
            settings=_RFCN,
        ),
        Row(
            *("rfcn_ms", "R-FCN, trained at five scales", "paper/table4/rfcn_ms.yaml", 80.5),
            seconds=(None, 0.17),
            settings=_MULTI_SCALE,
        ),
        Row(
            *("rfcn_ms_coco", "the same, first on COCO", "paper/table4/rfcn_ms_coco.yaml", 83.6),
            seconds=(None, 0.17),
            scales=_PAPER_ONLY,
        ),
        Row(
            *("frcnn_plus", "Faster R-CNN +++, first on COCO"),
            config="paper/table4/frcnn_plus_plus_plus.yaml",
            paper=85.6,
            seconds=(None, 3.36),
            scales=_PAPER_ONLY,
        ),
    ),
)

_TABLE_5 = Table(
    "Table 5: VOC 2012 test (the server's figures; here 2012 val, which it was trained on)",
    (
        Row("frcnn", "Faster R-CNN", "paper/table5/frcnn.yaml", 73.8),
        Row("rfcn_ms", "R-FCN, trained at five scales", "paper/table5/rfcn_ms.yaml", 77.6),
        Row("rfcn_ms_coco", "the same, first on COCO", "paper/table5/rfcn_ms_coco.yaml", 82.0),
        Row(
            *("frcnn_plus", "Faster R-CNN +++, first on COCO"),
            config="paper/table5/frcnn_plus_plus_plus.yaml",
            paper=83.8,
        ),
    ),
    scales={"paper": SCALES["paper"]},
)

_TABLE_6 = Table(
    "Table 6: COCO 2014 (mean AP at IoU 0.5; trainval is judged by COCO's server, here by val)",
    (
        Row("frcnn", "Faster R-CNN", "paper/table6/frcnn.yaml", 48.4, seconds=(None, 0.42)),
        Row("rfcn", "R-FCN", "paper/table6/rfcn.yaml", 48.9, seconds=(None, 0.17)),
        Row(
            *("rfcn_ms", "R-FCN, trained at five scales", "paper/table6/rfcn_ms.yaml", 49.1),
            seconds=(None, 0.17),
        ),
        Row(
            *("frcnn_plus", "Faster R-CNN +++, trainval"),
            config="paper/table6/frcnn_plus_plus_plus.yaml",
            paper=55.7,
            seconds=(None, 3.36),
        ),
        Row(
            *("rfcn_ms_trainval", "R-FCN, five scales, trainval"),
            config="paper/table6/rfcn_ms_trainval.yaml",
            paper=51.9,
            seconds=(None, 0.17),
        ),
        Row(
            *("rfcn_ms_test", "the same, tested at five scales too"),
            config="paper/table6/rfcn_ms_trainval_ms_test.yaml",
            paper=53.2,
            seconds=(None, 1.0),
        ),
    ),
    scales={"paper": replace(SCALES["paper"], summary="COCO 2014, as published: days on GPUs")},
)

_DEPTH = Table(
    "Depth (R-FCN, OHEM)",
    (
        Row(
            *("r50", "ResNet-50 (toy: 18)", "paper/depth/r50.yaml", 77.0, _UNVERIFIED),
            settings=_smaller(18),
        ),
        Row("r101", "ResNet-101 (toy: 34)", "paper/depth/r101.yaml", 79.5, settings=_smaller(34)),
        Row(
            *("r152", "ResNet-152 (toy: 50)", "paper/depth/r152.yaml", 79.6, _UNVERIFIED),
            settings=_smaller(50),
        ),
    ),
    scales={
        **SCALES,
        "toy": replace(
            SCALES["toy"],
            summary="ResNets from scratch on small drawn pictures: no order is claimed",
            over=("scales/toy_resnet.yaml",),
        ),
    },
)

_PROPOSALS = Table(
    "Proposals (R-FCN, OHEM)",
    (
        Row("rpn", "RPN", "paper/proposals/rpn.yaml", 79.5, settings=_RFCN),
        Row(
            *("selective_search", "Selective Search", "paper/proposals/selective_search.yaml"),
            paper=77.2,
            remark=_UNVERIFIED,
            settings=_settings(toy=f"{_NARROW} {_searched('toy')}", mini=_searched("mini")),
            over={"toy": ("scales/toy_given.yaml",), "mini": ("scales/mini_given.yaml",)},
        ),
        Row(
            *("edge_boxes", "Edge Boxes", "paper/proposals/edge_boxes.yaml", 77.8, _UNVERIFIED),
            scales=_PAPER_ONLY,
        ),
    ),
)

TABLES = {
    "position": _POSITION,
    "a_trous": _A_TROUS,
    "table2": _TABLE_2,
    "table3": _TABLE_3,
    "table4": _TABLE_4,
    "table5": _TABLE_5,
    "table6": _TABLE_6,
    "depth": _DEPTH,
    "proposals": _PROPOSALS,
}
