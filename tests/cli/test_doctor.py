"""`rfcn doctor`."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from rfcn.cli import doctor, environment
from rfcn.cli.doctor import Finding, examine, print_findings
from rfcn.cli.environment import INSTALL_PAIR
from rfcn.cli.main import main
from rfcn.errors import MachineError


def findings() -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine()}


def test_this_machine_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert torch.__version__.partition("+")[0] in shown
    assert shown.strip().endswith("usable: every command can run")


def test_it_names_the_backend_of_the_operators_and_the_reason() -> None:
    from rfcn.ops.library import status

    reasons = {line.device: line.reason for line in status()}
    found = findings()
    assert reasons["cpu"] in found["operators, cpu"].found
    assert reasons["cuda"] in found["operators, cuda"].found


@pytest.mark.parametrize("gpu", [False, True])
def test_plain_operators_are_a_note_where_they_matter(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rfcn.ops import library

    slow = [library.OpStatus("nms", device, "torch", "not built") for device in ("cpu", "cuda")]
    monkeypatch.setattr(library, "status", lambda: slow)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    found = {finding.subject: finding for finding in doctor._operators()}
    assert found["operators, cpu"].state == "note"
    assert library.BUILD_COMMAND in found["operators, cpu"].remedy
    assert found["operators, cuda"].state == ("note" if gpu else "ok")


# S1
def test_s1_a_broken_pair_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise MachineError(f"torch 2.15 and torchvision 0.1 do not belong together. {INSTALL_PAIR}")

    monkeypatch.setattr(doctor, "check_torchvision", broken)
    assert main(["doctor"]) == 6
    shown = capsys.readouterr().out
    assert "torchvision: torch 2.15 and torchvision 0.1 do not belong together" in shown
    assert INSTALL_PAIR in shown
    assert shown.strip().endswith("not usable: 1 faults")


def test_missing_packages_say_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = environment.version

    def without(package: str) -> str:
        if package in ("safetensors", *doctor.OPENCV):
            raise PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(environment, "version", without)
    assert main(["doctor"]) == 6
    shown = capsys.readouterr().out
    assert "pip install safetensors" in shown
    assert "pip install opencv-python-headless" in shown


# S2
def test_s2_what_one_feature_needs_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = environment.version

    def without(package: str) -> str:
        if package in doctor.FEATURES:
            raise PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(doctor, "_version_of", lambda path: "1")
    monkeypatch.setattr(doctor, "_operators", lambda: iter(()))
    monkeypatch.setattr(environment, "version", without)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for package in doctor.FEATURES:
        assert f"{package}: only " in shown
        assert f"pip install {package}\n" in shown


def test_without_torch_the_rest_is_still_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    real = environment.version

    def without(package: str) -> str:
        if package == "torch":
            raise PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(environment, "version", without)
    found = findings()
    assert found["torch"].state == "fault"
    assert found["numpy"].state == "ok"
    assert "operators, cpu" not in found


def test_a_torch_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert "libcudart.so" in findings()["torch"].remedy


def test_missing_compilers_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = findings()
    assert found["C++ compiler"].state == "note"
    assert "apt-get install g++" in found["C++ compiler"].remedy
    assert found["CUDA compiler"].remedy == ""


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        name = "Some GPU"
        total_memory = 24 * 2**30

    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Card)
    found = {finding.subject: finding.found for finding in doctor._devices()}
    assert found["cuda:0"] == found["cuda:1"] == "Some GPU, 24 GiB, CUDA 13.2"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "this torch has none" in {f.subject: f.found for f in doctor._devices()}["CUDA"]


def test_remedies_follow_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding("a", "1"), Finding("b", "2", "note", "type this")])
    table, _, remedies = capsys.readouterr().out.partition("b: ")
    assert "a " in table
    assert remedies == "type this\n"
