"""Loads the compiled operators, and says which of them are live and why.

The environment variable RFCN_OPS chooses: `auto` (compiled where it loads, else plain PyTorch,
said once in the log), `torch` (always plain PyTorch) or `compiled` (an error where it is missing).
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from rfcn.errors import MachineError

BUILD_COMMAND = "pip install --no-build-isolation -e . (in the source folder, with a C++ compiler)"

SCHEMAS = {
    "psroi_pool": ("(Tensor features, Tensor rois, float spatial_scale, int semantics) -> Tensor"),
    "psroi_pool_backward": (
        "(Tensor gradient, Tensor rois, float spatial_scale, int semantics,"
        " SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "psroi_vote": ("(Tensor features, Tensor rois, float spatial_scale, int semantics) -> Tensor"),
    "psroi_vote_backward": (
        "(Tensor gradient, Tensor rois, float spatial_scale, int semantics,"
        " SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "roi_pool": (
        "(Tensor features, Tensor rois, int height, int width, float spatial_scale,"
        " bool with_cells) -> (Tensor, Tensor)"
    ),
    "roi_pool_backward": (
        "(Tensor gradient, Tensor cells, Tensor rois, float spatial_scale, SymInt[] size,"
        " SymInt[] stride) -> Tensor"
    ),
    "roi_average_pool": (
        "(Tensor features, Tensor rois, int k, float spatial_scale, int semantics) -> Tensor"
    ),
    "roi_average_pool_backward": (
        "(Tensor gradient, Tensor rois, int k, float spatial_scale, int semantics,"
        " SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "deform_psroi_pool": (
        "(Tensor features, Tensor rois, Tensor? offsets, float spatial_scale, int samples,"
        " float offset_scale) -> Tensor"
    ),
    "deform_psroi_pool_backward": (
        "(Tensor gradient, Tensor rois, Tensor? offsets, float spatial_scale, int samples,"
        " float offset_scale, SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "deform_psroi_pool_offsets_backward": (
        "(Tensor gradient, Tensor features, Tensor rois, Tensor offsets, float spatial_scale,"
        " int samples, float offset_scale) -> Tensor"
    ),
    "psroi_align": (
        "(Tensor features, Tensor rois, float spatial_scale, int sampling_ratio) -> Tensor"
    ),
    "psroi_align_backward": (
        "(Tensor gradient, Tensor rois, float spatial_scale, int sampling_ratio,"
        " SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "roi_align": (
        "(Tensor features, Tensor rois, SymInt[] output_size, float spatial_scale,"
        " int sampling_ratio, bool aligned) -> Tensor"
    ),
    "roi_align_backward": (
        "(Tensor gradient, Tensor rois, SymInt[] output_size, float spatial_scale,"
        " int sampling_ratio, bool aligned, SymInt[] size, SymInt[] stride) -> Tensor"
    ),
    "nms": "(Tensor boxes, Tensor? groups, float threshold, int limit) -> Tensor",
    "soft_nms": (
        "(Tensor boxes, Tensor scores, Tensor? groups, int decay, float threshold, float sigma,"
        " float score_threshold, int limit) -> Tensor"
    ),
}
"""Every operator as `csrc/library.cpp` must declare it: a library built from older sources is
recognised by its schemas and left alone."""

_DEVICES = {"cpu": ("_cpu.so", "CPU"), "cuda": ("_cuda.so", "CUDA")}


class OpStatus(NamedTuple):
    """One line of `rfcn doctor`: the backend of one operator on one device, and the reason."""

    op: str
    device: str
    backend: str
    reason: str


@dataclass(frozen=True)
class Library:
    """What was loaded: the compiled (operator, device type) pairs, and a reason for each device."""

    compiled: frozenset[tuple[str, str]]
    reasons: dict[str, str]

    def status(self) -> list[OpStatus]:
        """Which backend is live for each operator on each device."""
        return [
            OpStatus(op, device, "compiled" if pair in self.compiled else "torch", reason)
            for op in SCHEMAS
            for device, reason in self.reasons.items()
            for pair in [(op, device)]
        ]


def backend_on(device: torch.device) -> str:
    """Which implementation of the operators runs there: compiled, torch, or both."""
    return " and ".join(sorted({one.backend for one in status() if one.device == device.type}))


def load(mode: str, folder: Path) -> Library:
    """Loads the libraries in `folder` as `mode` says.

    Raises:
        MachineError: the mode is unknown, or it is `compiled` and the CPU library does not load.
    """
    if mode not in ("auto", "torch", "compiled"):
        raise MachineError(f"RFCN_OPS is {mode!r}, but must be auto, torch or compiled")
    if mode == "torch":
        return Library(frozenset(), dict.fromkeys(_DEVICES, "RFCN_OPS=torch"))
    reasons = {"cpu": _fault_of_cpu(folder / _DEVICES["cpu"][0])}
    reasons["cuda"] = _fault_of_cuda(folder / _DEVICES["cuda"][0], reasons["cpu"])
    if reasons["cpu"] and mode == "compiled":
        raise MachineError(
            f"RFCN_OPS=compiled, but the operators cannot be loaded: {reasons['cpu']}. "
            f"Build them: {BUILD_COMMAND}."
        )
    _report(reasons)
    compiled = {
        (op, device)
        for device, (_, key) in _DEVICES.items()
        for op in SCHEMAS
        if not reasons[device]
        and torch._C._dispatch_has_kernel_for_dispatch_key(f"rfcn::{op}", key)
    }
    live = {device: reason or f"loaded {_DEVICES[device][0]}" for device, reason in reasons.items()}
    return Library(frozenset(compiled), live)


def _fault_of_cpu(path: Path) -> str:
    """Why the CPU library is not usable, or nothing once it is loaded."""
    if not path.exists():
        return "not built"
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load ({_first_line(error)})"
    for op, schema in SCHEMAS.items():
        packet = getattr(torch.ops.rfcn, op, None)
        if packet is None or str(packet.default._schema) != f"rfcn::{op}{schema}":
            return f"{path.name} was built from other sources (operator {op})"
    return ""


def _fault_of_cuda(path: Path, fault_of_cpu: str) -> str:
    """Why the CUDA library is not usable, or nothing once it is loaded."""
    if torch.version.cuda is None:
        return "this torch has no CUDA"
    if fault_of_cpu:
        return fault_of_cpu
    if not path.exists():
        return "not built"
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load ({_first_line(error)})"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _report(reasons: dict[str, str]) -> None:
    """The one line of the fall-back. A missing CUDA library matters only where a GPU is."""
    device = "cpu" if reasons["cpu"] else "cuda"
    if reasons["cpu"] or (reasons["cuda"] and torch.cuda.is_available()):
        logging.getLogger("rfcn").warning(
            "operators on %s run as plain PyTorch, several times slower: %s. To build them: %s",
            device,
            reasons[device],
            BUILD_COMMAND,
        )


LIBRARY = load(os.environ.get("RFCN_OPS", "auto"), Path(__file__).parent.parent)


def is_compiled(op: str, device: torch.device) -> bool:
    """Whether `op` has a compiled kernel for tensors on `device`."""
    return (op, device.type) in LIBRARY.compiled


def declared(op: str) -> bool:
    """Whether the dispatcher knows `op`, so that its fake and its gradient can be registered."""
    return (op, "cpu") in LIBRARY.compiled


def status() -> list[OpStatus]:
    """Which backend is live for each operator on each device, and why."""
    return LIBRARY.status()
