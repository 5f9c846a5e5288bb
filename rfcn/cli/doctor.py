"""`rfcn doctor`: what this machine has, what it lacks, and what to type to mend it."""

import argparse
import importlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from rfcn.cli.environment import (
    INSTALL_PAIR,
    check_python,
    check_torch,
    check_torchvision,
    installed_version,
    missing_module,
)
from rfcn.errors import MachineError

UNUSABLE = MachineError.exit_code
"""Exit code when something that every command needs is missing."""

PACKAGES = {
    "numpy": "numpy",
    "PIL": "pillow",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "safetensors": "safetensors",
    "defusedxml": "defusedxml",
    "matplotlib": "matplotlib",
}
"""Modules the commands import, and the packages that bring them."""
FEATURES = {
    "tensorboard": "only to write for TensorBoard (runtime.tensorboard)",
    "pycocotools": "only for eval.coco_tool=pycocotools",
    "faster-coco-eval": "only for eval.coco_tool=faster-coco-eval",
    "scipy": "only to read proposals from .mat files",
}
"""Packages without which every command runs, and what they are for."""
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python")
"""Packages that bring `cv2`; any of them does."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to type; empty where nothing is wrong."""

    subject: str
    found: str
    state: Literal["ok", "note", "fault"] = "ok"
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Print the findings and the remedies; 0 when every command can run, else 6."""
    findings = list(examine())
    print_findings(findings)
    faults = sum(finding.state == "fault" for finding in findings)
    print("usable: every command can run" if not faults else f"not usable: {faults} faults")
    return UNUSABLE if faults else 0


def examine() -> Iterator[Finding]:
    """Look at the machine, from Python up to the operators."""
    yield _checked("Python", platform.python_version(), check_python)
    yield Finding("rfcn", installed_version("rfcn") or "source tree, not installed")
    torch = _checked("torch", installed_version("torch") or "missing", _import_torch)
    yield torch
    yield _checked("torchvision", installed_version("torchvision") or "missing", check_torchvision)
    for module, package in PACKAGES.items():
        yield _package(package, module, installed_version(package))
    yield _package("opencv", "cv2", _opencv())
    for package, purpose in FEATURES.items():
        yield _feature(package, purpose, installed_version(package))
    yield _tool("C++ compiler", ("c++", "g++", "clang++"), "apt-get install g++")
    yield _tool("CUDA compiler", ("nvcc",), "")
    yield Finding("processors", f"{_processors()} usable of {os.cpu_count()}")
    if torch.state == "ok":
        yield from _devices()
        yield from _operators()


def print_findings(findings: list[Finding]) -> None:
    """Print a table, then a line for each remedy."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("state", no_wrap=True)
    styles = {"ok": "green", "note": "yellow", "fault": "red"}
    for finding in findings:
        table.add_row(finding.subject, finding.found, finding.state, style=styles[finding.state])
    console = Console(markup=False, highlight=False, soft_wrap=False)
    console.print(table)
    for finding in findings:
        if finding.remedy:
            print(f"{finding.subject}: {finding.remedy}")


def _import_torch() -> None:
    check_torch()
    try:
        importlib.import_module("torch")
    except Exception as error:  # a library it was built against is missing, most often
        raise MachineError(f"torch does not import ({error}). Type: {INSTALL_PAIR}") from None


def _checked(subject: str, found: str, check: Callable[[], None]) -> Finding:
    try:
        check()
    except MachineError as error:
        return Finding(subject, found, "fault", str(error))
    return Finding(subject, found)


def _package(subject: str, module: str, version: str | None) -> Finding:
    if version is None:
        return Finding(subject, "missing", "fault", str(missing_module(module)))
    return Finding(subject, version)


def _feature(package: str, purpose: str, version: str | None) -> Finding:
    if version is None:
        return Finding(package, "missing", "note", f"{purpose}. pip install {package}")
    return Finding(package, version)


def _opencv() -> str | None:
    """OpenCV's version, from whichever of its packages is installed."""
    for package in OPENCV:
        found = installed_version(package)
        if found:
            return f"{found}, {package}"
    return None


def _tool(subject: str, names: tuple[str, ...], remedy: str) -> Finding:
    for name in names:
        path = shutil.which(name)
        if path:
            return Finding(subject, f"{path}: {_version_of(path)}")
    needed = f"needed only to compile the operators. {remedy}".strip()
    return Finding(subject, "missing", "note", needed if remedy else "")


def _version_of(path: str) -> str:
    """The line of `TOOL --version` that holds a number."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    lines = [line.strip() for line in done.stdout.splitlines() if any(map(str.isdigit, line))]
    release = [line for line in lines if "release" in line]
    return next(iter(release or lines), "no version")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> Iterator[Finding]:
    """Torch's threads, and its GPUs with their memory."""
    import torch

    yield Finding("torch threads", str(torch.get_num_threads()))
    if torch.version.cuda is None:
        yield Finding("CUDA", "this torch has none; everything runs on the CPU", "note")
    elif not torch.cuda.is_available():
        yield Finding("CUDA", f"{torch.version.cuda} in torch, but no GPU it can use", "note")
    else:
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            memory = f"{card.total_memory / 2**30:.0f} GiB"
            yield Finding(f"cuda:{number}", f"{card.name}, {memory}, CUDA {torch.version.cuda}")


def _operators() -> Iterator[Finding]:
    """Which backend each operator runs on, and why."""
    import torch

    try:
        from rfcn.ops.library import BUILD_COMMAND, status
    except MachineError as error:  # RFCN_OPS asks for what is not there
        yield Finding("operators", "cannot be loaded", "fault", str(error))
        return
    for device in ("cpu", "cuda"):
        lines = [line for line in status() if line.device == device]
        slow = [line.op for line in lines if line.backend != "compiled"]
        needed = device == "cpu" or torch.cuda.is_available()
        reason = lines[0].reason if lines else "none"
        if not slow:
            yield Finding(f"operators, {device}", f"compiled ({reason})")
        elif needed:
            found = f"{', '.join(slow)} as plain PyTorch, slower ({reason})"
            yield Finding(f"operators, {device}", found, "note", f"to build: {BUILD_COMMAND}")
        else:
            yield Finding(f"operators, {device}", f"not used here ({reason})")
