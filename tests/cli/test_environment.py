"""What the commands need of the machine."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from rfcn.cli import environment
from rfcn.errors import MachineError


def test_this_machine_passes() -> None:
    environment.check_python()
    environment.check_torch()
    environment.check_torchvision()


# L12
@pytest.mark.parametrize("version", [(3, 10, 9), (2, 7, 18)])
def test_l12_old_python(version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(MachineError, match=rf"Python {version[0]}\.{version[1]} is too old"):
        environment.check_python()


# L12
@pytest.mark.parametrize("version", ["2.10.0", "1.13.1+cu117", "2.9.0a0"])
def test_l12_old_torch(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda package: version)
    with pytest.raises(MachineError, match=r"is too old: 2\.11 or newer"):
        environment.check_torch()


@pytest.mark.parametrize("version", ["2.11.0", "2.15.0+cpu", "2.11rc1", "3.0.0"])
def test_new_enough_torch(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda package: version)
    environment.check_torch()


def absent(package: str) -> str:
    raise PackageNotFoundError(package)


def test_missing_packages_say_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", absent)
    assert environment.installed_version("torch") is None
    with pytest.raises(MachineError, match=r"torch is not installed\. Type: pip"):
        environment.check_torch()


# S1
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "nms does not exist"),
        (ImportError("libtorch.so: undefined symbol: x\nmore"), "undefined symbol: x"),
        (OSError(), "OSError"),
    ],
)
def test_s1_a_broken_pair(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(MachineError, match="do not belong together") as caught:
        environment.check_torchvision()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(environment, "version", absent)
    with pytest.raises(MachineError, match="torchvision is not installed"):
        environment.check_torchvision()


# S2
@pytest.mark.parametrize(
    ("module", "package"),
    [("cv2", "opencv-python-headless"), ("PIL", "pillow"), ("matplotlib", "matplotlib")],
)
def test_s2_the_package_that_brings_a_module(module: str, package: str) -> None:
    assert f"pip install {package}" in str(environment.missing_module(module))
