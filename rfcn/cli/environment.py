"""What the commands need of the machine, checked before anything heavy is imported."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version

from rfcn.errors import MachineError

OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 11)
INSTALL_PAIR = "pip install --upgrade torch torchvision"
"""What brings a torch and a torchvision that belong together."""


def check_python() -> None:
    """Raise `MachineError` when this Python is too old."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        have, need = (".".join(map(str, v)) for v in (sys.version_info[:2], OLDEST_PYTHON))
        raise MachineError(
            f"Python {have} is too old: {need} or newer is needed. "
            f"Make an environment with a newer one: python{need} -m venv .venv"
        )


def check_torch() -> None:
    """Raise `MachineError` when torch is missing or too old; does not import it."""
    have = installed_version("torch")
    need = ".".join(map(str, OLDEST_TORCH))
    if have is None:
        raise MachineError(f"torch is not installed. Type: {INSTALL_PAIR}")
    if _numbers(have) < OLDEST_TORCH:
        raise MachineError(f"torch {have} is too old: {need} or newer. Type: {INSTALL_PAIR}")


def check_torchvision() -> None:
    """Raise `MachineError` when torchvision does not import beside this torch.

    A wheel built for another torch fails while it is imported, with `operator torchvision::nms
    does not exist` or an undefined symbol.
    """
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # whatever a broken pair raises
        raise MachineError(_broken_pair(error)) from None


def missing_module(name: str) -> MachineError:
    """The error for a module that is not installed, with the package that brings it."""
    package = {"cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml"}.get(name, name)
    return MachineError(f"the Python module '{name}' is missing. Type: pip install {package}")


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _broken_pair(error: Exception) -> str:
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    if torchvision is None:
        return f"torchvision is not installed. Type: {INSTALL_PAIR}"
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"torch {torch} and torchvision {torchvision} do not belong together ({reason[0]}). "
        f"Type: {INSTALL_PAIR}"
    )


def _numbers(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)))
