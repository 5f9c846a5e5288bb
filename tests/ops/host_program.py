"""Compiles for the host what CUDA threads run, so that it is tested without a GPU.

The headers beside csrc/README.md know nothing of torch. A small program walks over the elements as
the kernels in csrc/cuda/ do, or runs the blocks of csrc/block_*.h with the teams of host_team.h.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
INCLUDES = (CSRC, Path(__file__).parent, Path(torch.__file__).parent / "include")


def compile_host_program(source: str, folder: Path) -> ctypes.CDLL:
    """The program as a library; skips where there is no compiler."""
    return ctypes.CDLL(str(_compile(source, folder, "host.so", ["-O2", "-fPIC", "-shared"])))


def run_sanitized(source: str, folder: Path, sanitizers: str) -> None:
    """Runs the program, which has a main(), under gcc's sanitizers: a fault ends the test.

    Skips where the compiler has none of them.
    """
    flags = ["-O1", "-g1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    if COMPILER is not None:
        (folder / "empty.cpp").write_text("int main() {}\n")
        trial = [COMPILER, *flags, str(folder / "empty.cpp"), "-o", str(folder / "empty")]
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
            pytest.skip(f"this compiler has no -fsanitize={sanitizers}")
    program = _compile(source, folder, "sanitized", flags)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def _compile(source: str, folder: Path, name: str, flags: list[str]) -> Path:
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    text, made = folder / f"{name}.cpp", folder / name
    text.write_text(source)
    strict = ["-std=c++20", "-Wall", "-Werror", "-ffp-contract=off", "-pthread"]
    paths = [f"-isystem{path}" if path == INCLUDES[2] else f"-I{path}" for path in INCLUDES]
    subprocess.run([COMPILER, *strict, *flags, *paths, str(text), "-o", str(made)], check=True)
    return made


def pointer(tensor):
    """The address of a tensor's first element."""
    return ctypes.c_void_p(tensor.data_ptr())
