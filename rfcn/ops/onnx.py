"""The operators in ONNX, as standard operators that any runtime knows.

A detector is exported with `torch.ops.rfcn.*` in its graph. On the way to ONNX each of them is
replaced by its plain PyTorch form, whose parts ONNX has (an integral image is CumSum, its corners
are Gather), or, where ONNX has the operator itself, by that one (`onnx_operators`).

What differs from the compiled forms: a RoI that names no picture or is not finite gives zeros,
since a graph cannot raise; RoIs and boxes are compared as float32; roi_pool passes over NaN.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

import rfcn.ops.library as library
import rfcn.ops.onnx_operators as onnx_operators
import rfcn.ops.plain.deform_psroi_pool as plain_deform_psroi_pool
import rfcn.ops.plain.nms as plain_nms
import rfcn.ops.plain.psroi_pool as plain_psroi_pool
import rfcn.ops.plain.psroi_vote as plain_psroi_vote
import rfcn.ops.plain.roi_average_pool as plain_roi_average_pool
from rfcn.errors import MachineError

PLAIN_FORMS: dict[str, Callable[..., Any]] = {
    "psroi_pool": plain_psroi_pool.psroi_pool,
    "deform_psroi_pool": plain_deform_psroi_pool.deform_psroi_pool,
    "psroi_vote": plain_psroi_vote.psroi_vote,
    "roi_average_pool": plain_roi_average_pool.roi_average_pool,
}
"""For each operator that ONNX lacks, what computes the same from parts that it has."""


def _sort(x: Tensor, stable: bool | None = None, dim: int = -1, descending: bool = False):  # type: ignore[no-untyped-def]
    """ONNX's TopK, to which the unstable sort is translated, is stable."""
    return torch.ops.aten.sort.default(x, dim, descending)


EINSUM = torch.ops.aten.einsum.default
DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sort.stable: _sort,
    # As matrix products: an Einsum over no RoIs would end the process of ONNX Runtime 1.31.
    EINSUM: torch.export.default_decompositions()[EINSUM],
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
    """How to write what has an operator of its own in ONNX."""
    table: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.aten.masked_select.default: onnx_operators.masked_select,
        plain_nms.OPERATOR: onnx_operators.nms,
    }
    for op in ("nms", "roi_pool", "roi_align", "psroi_align"):
        if library.declared(op):
            table[getattr(torch.ops.rfcn, op).default] = getattr(onnx_operators, op)
    return table
