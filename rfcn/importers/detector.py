"""From a foreign R-FCN to ours: the layers after the backbone, and the config that they make.

What is the same in py-R-FCN, MATLAB R-FCN and Deformable-ConvNets: `conv_new_1`, `rfcn_cls`,
`rfcn_bbox` with rows that lie class by class, and an RPN whose first A scores are background's.
What differs stands in `rfcn.importers.foreign.Foreign`, or is looked for in the numbers: whether
the deviations of box targets are already multiplied into the last layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rfcn.errors import WeightsError
from rfcn.importers.backbone import Network, take_backbone
from rfcn.importers.class_names import names_for
from rfcn.importers.foreign import Foreign
from rfcn.importers.ledger import Ledger
from rfcn.models.heads.rfcn import BIN_MAJOR
from rfcn.models.heads.row_order import convert_rows

Statistics = Literal["auto", "folded", "normalised"]

BOX_STD = (0.1, 0.1, 0.2, 0.2)
"""What box targets are divided by in training here, and in both codes."""
SCALES = {9: (8, 16, 32), 12: (4, 8, 16, 32), 15: (2, 4, 8, 16, 32)}
"""Anchors a cell -> scales of the released configs (ratios 0.5, 1, 2)."""
BIN_BY_BIN = "rows from class by class to bin by bin"
_DOUBLE, _SINGLE = 1.6, 1.25
"""Rows of growth are BOX_STD's 2 times those of shifts where deviations were multiplied in, for
both began with equal noise, and 1 time where they were not; between the two nothing is decided."""


@dataclass(frozen=True)
class Wishes:
    """What the file does not say."""

    classes: Sequence[str] = ()
    """Names, label 1 first; by default those of VOC or COCO where the count is theirs."""
    statistics: Statistics = "auto"
    """Whether the last box layer has the deviations of its targets multiplied in."""


def is_detector(foreign: Foreign) -> bool:
    """Whether a file holds an R-FCN."""
    return "rfcn_cls.weight" in foreign.tensors and "rfcn_bbox.weight" in foreign.tensors


def take_detector(
    ledger: Ledger, network: Network, wishes: Wishes
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Put the tensors of an R-FCN where they belong.

    Returns:
        (what its config says beside defaults, names of its classes).

    Raises:
        WeightsError: shapes fit no R-FCN, there is no name for a class, or the state of the box
            statistics cannot be told.
    """
    if network.kind != "resnet":
        raise WeightsError("the file holds an R-FCN on another backbone than a ResNet.")
    scores, boxes = (ledger.foreign.tensors[f"rfcn_{one}.weight"] for one in ("cls", "bbox"))
    k, sets = grid_of(len(scores), len(boxes))
    classes = len(scores) // k**2 - 1
    names = names_for(classes, wishes.classes)
    take_backbone(ledger, network, "backbone.")
    for part in ("weight", "bias"):
        ledger.move(f"conv_new_1.{part}", f"roi_head.reduce.{part}")
        ledger.move(f"rfcn_cls.{part}", f"roi_head.score_maps.{part}", _rows(k), BIN_BY_BIN)
    folded = _take_boxes(ledger, boxes, k, wishes.statistics)
    deformable = _take_offsets(ledger, k)
    ledger.state["roi_head._extra_state"] = torch.tensor(BIN_MAJOR)
    kinds = {classes + 1: "class_aware", 1: "agnostic", 2: "background_foreground"}
    head: dict[str, Any] = {"type": "rfcn", "k": k, "reduction": scores.shape[1]}
    if deformable:
        head |= {"type": "deformable_rfcn", "features": "conv5_deformable"}
    head["box_sets"] = kinds[sets]
    model = {
        "backbone": {
            "type": "resnet",
            "depth": network.depth,
            "weights": "none",
            "style": ledger.foreign.style,
        },
        "proposer": _take_rpn(ledger, folded),
        "roi_head": head,
        "box_std": list(BOX_STD),
        "pixel_mean": list(ledger.foreign.mean),
        "pixel_std": list(ledger.foreign.std),
    }
    for name in ("mean", "std"):
        numbers = getattr(ledger.foreign, name)
        ledger.state[f"normalize.{name}"] = torch.tensor(numbers).float().view(1, 3, 1, 1)
    return {"model": model, "data": {"classes": list(names)}}, names


def grid_of(scores: int, boxes: int) -> tuple[int, int]:
    """k and box sets S, of so many rows of rfcn_cls (k²(C+1)) and of rfcn_bbox (4k²S).

    Raises:
        WeightsError: no k and S make them, or more than one k does.
    """
    found = set()
    for k in range(1, 15):
        classes, rest = divmod(scores, k * k)
        sets, more = divmod(boxes, 4 * k * k)
        if not rest and not more and classes >= 2 and sets in (1, 2, classes):
            found.add((k, sets))
    # One set a class fits any k whose square divides the rows: the published grids come first.
    for k in (7, 3):
        if len(found) > 1 and any(one[0] == k for one in found):
            found = {one for one in found if one[0] == k}
    if len(found) != 1:
        raise WeightsError(
            f"rfcn_cls has {scores} rows and rfcn_bbox {boxes}: expected k*k*(C+1) and 4*k*k*S "
            "with S of 1, 2 or C+1."
        )
    return found.pop()


def _rows(k: int) -> Any:
    return lambda rows: convert_rows(rows, k, to="bin_major")


# ------------------------------------------------------------------------------------------ boxes


def growth_ratio(weight: Tensor, k: int = 1) -> float:
    """How large rows of growth (dw, dh) are beside those of shifts (dx, dy), by root mean square.

    weight: [4*k*k*S, ...], class by class: 4 coordinates of k*k rows; anchors have k = 1.
    """
    rows = weight.double().reshape(-1, 2, 2 * k * k, weight[0].numel())
    shift, growth = rows.pow(2).mean((0, 2, 3)).sqrt().tolist()
    return float(growth / shift) if shift else math.nan


def _take_boxes(ledger: Ledger, weight: Tensor, k: int, statistics: Statistics) -> bool:
    """The box maps; whether deviations were multiplied into them."""
    ratio = growth_ratio(weight, k)
    if statistics == "auto" and "rfcn_bbox_test.weight" in ledger.foreign.tensors:
        statistics = "normalised"  # Deformable-ConvNets keeps both, and says so by the name
    if statistics == "auto" and not (ratio <= _SINGLE or ratio >= _DOUBLE):
        raise WeightsError(
            f"rfcn_bbox: its rows of width and height are {ratio:.2f} times as large as those of x "
            "and y, which tells neither that the deviations of box targets were multiplied in (2) "
            "nor that they were not (1). Say --box-statistics folded (what py-R-FCN's and MATLAB's "
            "snapshots are) or normalised."
        )
    folded = statistics == "folded" or (statistics == "auto" and ratio >= _DOUBLE)
    said = (
        "as the file or the user says"
        if statistics != "auto"
        else f"width and height rows {ratio:.2f} times x, y"
    )
    ledger.notes.append(
        f"box statistics: {'multiplied into' if folded else 'not in'} rfcn_bbox ({said}); "
        + (
            "its rows are divided by model.box_std, which detection multiplies in again."
            if folded
            else "its rows are as in training, and model.box_std is multiplied in by detection."
        )
    )
    how = BIN_BY_BIN + (", divided by box_std" if folded else "")
    for part in ("weight", "bias"):
        ledger.move(
            f"rfcn_bbox.{part}",
            f"roi_head.box_maps.{part}",
            lambda rows: convert_rows(_scaled(rows, k, divide=folded), k, to="bin_major"),
            how,
        )
    return folded


def _scaled(rows: Tensor, k: int, *, divide: bool = False, multiply: bool = False) -> Tensor:
    """Rows class by class, each by the deviation of its coordinate."""
    if not divide and not multiply:
        return rows
    std = torch.tensor(BOX_STD, dtype=torch.float64).repeat_interleave(k * k)
    factor = (1 / std if divide else std).repeat(len(rows) // len(std))
    return (rows.double() * factor.view(-1, *[1] * (rows.dim() - 1))).float()


def _take_offsets(ledger: Ledger, k: int) -> bool:
    """The layers that say where to look, of Deformable R-FCN; whether there are any."""
    if "rfcn_cls_offset_t.weight" not in ledger.foreign.tensors:
        return False
    for theirs, ours in (
        ("rfcn_cls_offset_t", "score_offsets"),
        ("rfcn_bbox_offset_t", "box_offsets"),
    ):
        for part in ("weight", "bias"):
            ledger.move(f"{theirs}.{part}", f"roi_head.{ours}.{part}", _rows(k), BIN_BY_BIN)
    for block, letter in enumerate("abc"):
        for part in ("weight", "bias"):
            ledger.move(
                f"res5{letter}_branch2b_offset.{part}",
                f"backbone.layer4.{block}.conv2.offset.{part}",
            )
    return True


# -------------------------------------------------------------------------------------------- RPN

_RPN = {"rpn_conv_3x3": "conv", "rpn_cls_score": "scores", "rpn_bbox_pred": "deltas"}


def _take_rpn(ledger: Ledger, folded: bool) -> dict[str, Any]:
    """The RPN, and its section of the config; MATLAB's detectors have none."""
    tensors = ledger.foreign.tensors
    if "rpn_cls_score.weight" not in tensors:
        ledger.notes.append(
            "there is no RPN in the file: proposals must be given (docs/variants.md)."
        )
        return {"type": "given"}
    anchors = len(tensors["rpn_cls_score.weight"]) // 2
    if anchors not in SCALES:
        raise WeightsError(
            f"rpn_cls_score scores {anchors} anchors a cell; the published sets of 9, 12 and 15 "
            "are known, and the file does not say which others it means."
        )
    # py-R-FCN's RPN has normalised targets too, and both layers are folded together.
    multiply = ledger.foreign.program == "Caffe" and not folded
    if multiply:
        ledger.notes.append(
            "rpn_bbox_pred was taken as a raw snapshot too: its rows are multiplied by (0.1, 0.1, "
            "0.2, 0.2), with which py-R-FCN's end-to-end configs normalise the RPN's targets."
        )
    for theirs, ours in _RPN.items():
        for part in ("weight", "bias"):
            scale = multiply and theirs == "rpn_bbox_pred"
            ledger.move(
                f"{theirs}.{part}",
                f"proposer.head.{ours}.{part}",
                (lambda rows: _scaled(rows, 1, multiply=True)) if scale else None,
                "multiplied by (0.1, 0.1, 0.2, 0.2)" if scale else "",
            )
    return {
        "type": "rpn",
        "anchors": {"scales": list(SCALES[anchors])},
        "channels": tensors["rpn_cls_score.weight"].shape[1],
        "min_size": 16 if ledger.foreign.program == "Caffe" else 0,
    }
