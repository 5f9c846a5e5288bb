"""torch.compile as a switch: which modules, and whether this machine can."""

from collections.abc import Iterable

import torch
from torch import nn

from rfcn.errors import MachineError

BACKEND = "inductor"
"""What torch.compile makes of a graph: C++ on CPUs, Triton on GPUs."""


def compile_modules(modules: Iterable[nn.Module], device: torch.device) -> None:
    """Compile the forward and backward passes of modules, for maps of any size, when first used.

    The modules stay what they are, their state dicts too.

    Raises:
        MachineError: a sum of two numbers cannot be compiled here.
    """
    _check_compiler(device)
    for module in modules:
        module.compile(backend=BACKEND, dynamic=True)


def _check_compiler(device: torch.device) -> None:
    """Compile as little as possible, before the run has begun."""
    try:
        with torch.no_grad():
            torch.compile(_plus_one, backend=BACKEND)(torch.zeros(2, device=device))
    except Exception as error:  # of many libraries: dynamo, inductor, Triton, subprocess
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise MachineError(
            f"runtime.compile: this machine cannot compile for {device.type} "
            f"({type(error).__name__}: {' '.join(lines[:2])[:300]}). torch.compile needs a C++ "
            "compiler (g++), on GPUs also Triton; install them, or leave runtime.compile false: "
            "the numbers are the same without."
        ) from error


def _plus_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1
