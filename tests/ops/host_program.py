"""Compiles for the host what a CUDA thread runs, so that its arithmetic is tested without a GPU.

The headers beside csrc/README.md know nothing of torch. A small program walks over the elements as
the kernels in csrc/cuda/ do.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def compile_host_program(source: str, folder: Path) -> ctypes.CDLL:
    """The program as a library; skips where there is no compiler."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    (folder / "host.cpp").write_text(source)
    flags = ["-std=c++20", "-O2", "-Wall", "-Werror", "-ffp-contract=off", "-fPIC", "-shared"]
    library = folder / "host.so"
    subprocess.run(
        [COMPILER, *flags, f"-I{CSRC}", str(folder / "host.cpp"), "-o", str(library)], check=True
    )
    return ctypes.CDLL(str(library))


def pointer(tensor):
    """The address of a tensor's first element."""
    return ctypes.c_void_p(tensor.data_ptr())
