"""The fuzzer's cases of what reads scored boxes: nms, soft_nms, box_voting."""

import random

import fuzz_cases
import torch
from fuzz_compare import FORMS, MismatchError, Trial, backend, close
from torch import Tensor

from rfcn.boxes import iou
from rfcn.ops.box_voting import SCORINGS, box_voting
from rfcn.ops.nms import nms
from rfcn.ops.reference import box_voting as reference_box_voting
from rfcn.ops.reference import nms as reference_nms
from rfcn.ops.reference import soft_nms as reference_soft_nms
from rfcn.ops.soft_nms import METHODS, soft_nms


def try_nms(op: str, number: int) -> Trial:
    """One case of nms."""
    boxes, scores, arguments = fuzz_cases.draw_boxes(number, most=150)
    expected = reference_nms.nms(boxes, scores, **_exact(arguments, boxes))
    words = f"{len(boxes)} boxes, {str(boxes.dtype)[6:]}, {sorted(arguments)}"
    for form, live in FORMS.items():
        with backend(live):
            found = nms(boxes, scores, **arguments).tolist()
        if found != expected:
            return Trial(len(boxes), words, f"{form} keeps {found}, not {expected}")
    return Trial(len(boxes), words)


def _exact(arguments: dict, boxes: Tensor) -> dict:
    """A threshold is compared in the dtype of the boxes; the definition is told so."""
    return {
        **arguments,
        "threshold": float(torch.tensor(arguments["threshold"], dtype=boxes.dtype)),
    }


def try_soft_nms(op: str, number: int) -> Trial:
    """One case of soft_nms. The order of scores that are equal but for their rounding is free: the
    definition takes the boxes in the order found, as long as each is as good as the best."""
    choose = random.Random(number)
    boxes, scores, arguments = fuzz_cases.draw_boxes(
        number, most=60, strange=(torch.nan, torch.inf)
    )
    arguments["method"] = choose.choice(METHODS)
    arguments["sigma"] = choose.choice((0.1, 0.5, 2.0))
    arguments["score_threshold"] = choose.choice((0.0, 0.001, 0.3))
    arguments["threshold"] = _between_overlaps(arguments["threshold"], boxes)
    words = f"{len(boxes)} boxes, {str(boxes.dtype)[6:]}, {arguments['method']}"
    try:
        for form, live in FORMS.items():
            with backend(live):
                indices, rescored = soft_nms(boxes, scores, **arguments)
            _replay(form, indices.tolist(), rescored, boxes, scores, arguments)
    except MismatchError as error:
        return Trial(len(boxes), words, str(error))
    return Trial(len(boxes), words)


def _between_overlaps(threshold: float, boxes: Tensor) -> float:
    """A threshold near the one given on which no overlap lies: there, rounding would decide."""
    overlaps = iou(boxes.double(), boxes.double()).nan_to_num()
    while ((overlaps - threshold).abs() < 1e-5).any() and threshold < 1:
        threshold += 2.7e-5
    return min(threshold, 1.0)


def _replay(
    form: str, indices: list[int], rescored: Tensor, boxes: Tensor, scores: Tensor, arguments: dict
) -> None:
    """Raises MismatchError unless the definition may take these boxes in this order."""
    tolerance = 1e-12 if boxes.dtype == torch.float64 else 1e-5
    least = arguments["score_threshold"]
    order = iter(indices)

    def choose(left: dict[int, float]) -> int | None:
        index, best = next(order, None), max(left.values())
        if index is None and best > least + tolerance:
            raise MismatchError(f"{form}: ends where a box with score {best} is left")
        if index is not None and left.get(index, least) < best - tolerance:
            raise MismatchError(f"{form}: takes box {index}, where the best has score {best}")
        return index if index in left else None  # None: at the score threshold, by rounding

    weight_of = reference_soft_nms.decay(*(arguments[n] for n in ("method", "threshold", "sigma")))
    rest = least, arguments.get("groups"), arguments.get("limit")
    taken, expected = reference_soft_nms.take(boxes, scores, weight_of, choose, *rest)
    if any(score > least + tolerance for score in rescored[len(taken) :].tolist()):
        raise MismatchError(f"{form}: takes more boxes than {taken}")
    close(rescored[: len(taken)], torch.tensor(expected).double(), f"{form} scores")


def try_box_voting(op: str, number: int) -> Trial:
    """One case of box_voting, on boxes that nms keeps."""
    choose = random.Random(number)
    boxes, scores, arguments = fuzz_cases.draw_boxes(number, most=60)
    limit, groups = arguments.pop("limit", None), arguments.get("groups")
    kept = nms(boxes, scores, choose.choice((0.3, 0.5, 1.0)), groups=groups, limit=limit)
    scores = scores.where(torch.arange(len(scores)) % 10 > 0, -scores)  # these have no vote
    arguments["scoring"] = choose.choice(SCORINGS)
    words = f"{len(boxes)} boxes, {str(boxes.dtype)[6:]}, {arguments['scoring']}"
    expected = reference_box_voting.box_voting(boxes, scores, kept, **_exact(arguments, boxes))
    try:
        for what, one, other in zip(
            ("boxes", "scores"), box_voting(boxes, scores, kept, **arguments), expected, strict=True
        ):
            strange = ~other.isfinite()  # of a box that nobody voted for: as it was
            if not torch.equal(one.double()[strange].nan_to_num(), other[strange].nan_to_num()):
                raise MismatchError(f"{what}: {one[strange]}, not {other[strange]}")
            close(one.where(~strange, 0), other.where(~strange, 0), what)
    except MismatchError as error:
        return Trial(len(boxes), words, str(error))
    return Trial(len(boxes), words)
