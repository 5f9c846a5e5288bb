"""The operators in ONNX, as standard operators that any runtime knows.

A detector is exported with `torch.ops.rfcn.*` in its graph. On the way to ONNX each of them is
replaced by its plain PyTorch form, whose parts ONNX has (an integral image is CumSum, its corners
are Gather), or, where ONNX has the operator itself, by that one: NonMaxSuppression for nms.

What differs from the compiled forms: a RoI that names no picture or is not finite gives zeros,
since a graph cannot raise; and nms compares float32 boxes, whatever dtype they had.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

import rfcn.ops.library as library
import rfcn.ops.plain.deform_psroi_pool as plain_deform_psroi_pool
import rfcn.ops.plain.nms as plain_nms
import rfcn.ops.plain.psroi_align as plain_psroi_align
import rfcn.ops.plain.psroi_pool as plain_psroi_pool
import rfcn.ops.plain.psroi_vote as plain_psroi_vote
import rfcn.ops.plain.roi_align as plain_roi_align
import rfcn.ops.plain.roi_average_pool as plain_roi_average_pool
from rfcn.errors import MachineError

PLAIN_FORMS: dict[str, Callable[..., Any]] = {
    "psroi_align": plain_psroi_align.psroi_align,
    "psroi_pool": plain_psroi_pool.psroi_pool,
    "deform_psroi_pool": plain_deform_psroi_pool.deform_psroi_pool,
    "psroi_vote": plain_psroi_vote.psroi_vote,
    "roi_average_pool": plain_roi_average_pool.roi_average_pool,
    "roi_align": plain_roi_align.roi_align,
}
"""For each operator that ONNX lacks, what computes the same from parts that it has."""


def _sort(x: Tensor, stable: bool | None = None, dim: int = -1, descending: bool = False):  # type: ignore[no-untyped-def]
    """ONNX's TopK, to which the unstable sort is translated, is stable."""
    return torch.ops.aten.sort.default(x, dim, descending)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sort.stable: _sort,
    **{
        getattr(torch.ops.rfcn, op).default: form
        for op, form in PLAIN_FORMS.items()
        if library.declared(op)
    },
}
"""The table for `ExportedProgram.run_decompositions`. Where nothing is compiled, programs hold the
plain forms from the start."""


def to_onnx(program: ExportedProgram, **options: Any) -> Any:
    """An exported program as an ONNX model of standard operators.

        program = torch.export.export(model.eval(), (images,), dynamic_shapes=...)
        to_onnx(program).save("model.onnx")

    Args:
        program: what `torch.export.export` made of a model in evaluation mode, float32. Its
            dynamic sizes stay dynamic: batch, map size, number of RoIs, which may be 0.
        options: passed on to `torch.onnx.export`: `input_names`, `output_names`, `opset_version`.

    Returns:
        A `torch.onnx.ONNXProgram`: `.save(path)`, `.model_proto`.

    Raises:
        MachineError: the packages onnx and onnxscript are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MachineError(
            f"the export to ONNX needs the package {error.name}, which is not installed. "
            "Type: pip install 'rfcn[export]'"
        ) from error
    return torch.onnx.export(
        program.run_decompositions(DECOMPOSITIONS),
        dynamo=True,
        custom_translation_table=_translations(),
        **options,
    )


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How to write operators whose results ONNX has an operator of its own for."""
    operators = [plain_nms.OPERATOR]
    if library.declared("nms"):
        operators.append(torch.ops.rfcn.nms.default)
    masked_select = torch.ops.aten.masked_select.default
    return {**dict.fromkeys(operators, _nms), masked_select: _masked_select}


def _masked_select(x, mask):  # type: ignore[no-untyped-def]
    """x and mask of any shapes that broadcast -> [how many are true]."""
    from onnxscript import opset18 as op

    x, mask = op.Expand(x, op.Shape(mask)), op.Expand(mask, op.Shape(x))
    return op.Compress(x, op.Reshape(mask, op.Constant(value_ints=[-1])))


def _nms(boxes, groups, threshold: float, limit: int):  # type: ignore[no-untyped-def]
    """boxes: [B, 4], best first; groups: [B] or None -> [B] bool, which are kept.

    A group is a class of NonMaxSuppression, whose boxes of other groups score 0, below the score
    that counts; the others score by rank. So no coordinate is shifted to keep groups apart.
    """
    from onnxscript import opset18 as op

    boxes = _no_strange_boxes(op, op.Cast(boxes, to=1))
    count = op.Shape(boxes, start=0, end=1)
    one = op.Constant(value_ints=[1])
    zeros = op.Expand(op.Constant(value_ints=[0]), count)
    rank = op.CumSum(op.Expand(one, count), 0, reverse=1)  # the best box scores B, the last 1
    if groups is None:
        scores = op.Unsqueeze(rank, [0])
    else:
        names, _, _, _ = op.Unique(groups)
        mine = op.Equal(op.Unsqueeze(names, [1]), op.Unsqueeze(groups, [0]))
        scores = op.Where(mine, op.Unsqueeze(rank, [0]), 0)
    scores = op.Unsqueeze(op.Cast(scores, to=1), [0])
    most = count if limit < 0 else op.Constant(value_ints=[limit])
    found = op.NonMaxSuppression(op.Unsqueeze(boxes, [0]), scores, most, threshold, 0.5)
    index = op.Gather(found, op.Constant(value_int=2), axis=1)
    keep = op.ScatterElements(zeros, index, op.Expand(one, op.Shape(index)), axis=0)
    if limit >= 0:  # of all groups together, the first
        keep = op.Where(op.LessOrEqual(op.CumSum(keep, 0), limit), keep, zeros)
    return op.Cast(keep, to=9)


def _no_strange_boxes(op, boxes):  # type: ignore[no-untyped-def]
    """Reversed or infinite boxes overlap nothing here; ONNX would turn them round. So: empty."""
    low, high = op.Slice(boxes, [0], [2], [1]), op.Slice(boxes, [2], [4], [1])
    side = op.Sub(high, low)  # NaN or inf where a corner is
    sound = op.And(op.Greater(side, 0.0), op.Less(side, float("inf")))
    sound = op.ReduceMin(op.Cast(sound, to=6), [1])
    return op.Where(op.Cast(sound, to=9), boxes, 0.0)
