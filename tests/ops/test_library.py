"""Loading the operators: which backend is live, and what is said when it is the slow one."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rfcn
from rfcn.errors import MachineError
from rfcn.ops import library

PACKAGE = Path(rfcn.__file__).parent


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "rfcn"]


def test_nothing_built_falls_back_with_one_line(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = library.load("auto", tmp_path)
    assert not found.compiled
    assert len(lines(caplog)) == 1
    assert "not built" in lines(caplog)[0]
    assert library.BUILD_COMMAND in lines(caplog)[0]
    assert {one.backend for one in found.status()} == {"torch"}


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01\x01 for another machine"])
def test_binary_of_another_kind_falls_back_with_one_line(tmp_path, caplog, content):  # O24
    (tmp_path / "_cpu.so").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = library.load("auto", tmp_path)
    assert not found.compiled
    assert len(lines(caplog)) == 1
    assert "_cpu.so does not load" in lines(caplog)[0]


def test_binary_of_older_sources_falls_back(monkeypatch, caplog, compiled):  # O24
    changed = {**library.SCHEMAS, "nms": "(Tensor boxes) -> Tensor"}
    monkeypatch.setattr(library, "SCHEMAS", changed)
    found = library.load("auto", PACKAGE)
    assert not found.compiled
    assert "other sources (operator nms)" in lines(caplog)[0]


def test_compiled_is_demanded_but_missing(tmp_path):
    with pytest.raises(MachineError, match=r"RFCN_OPS=compiled, but .* not built"):
        library.load("compiled", tmp_path)


def test_unknown_mode(tmp_path):
    with pytest.raises(MachineError, match="RFCN_OPS is 'fast', but must be auto, torch"):
        library.load("fast", tmp_path)


def test_torch_mode_is_silent(caplog):
    found = library.load("torch", PACKAGE)
    assert not found.compiled
    assert {one.reason for one in found.status()} == {"RFCN_OPS=torch"}
    assert not lines(caplog)


def test_status_has_a_line_for_each_operator_and_device(compiled):
    lines = {(one.op, one.device): one for one in library.status()}
    assert set(lines) == {(op, device) for op in library.SCHEMAS for device in ("cpu", "cuda")}
    assert all(lines[op, "cpu"].backend == "compiled" for op in library.SCHEMAS)
    assert lines["nms", "cpu"].reason == "loaded _cpu.so"


def test_every_operator_of_the_library_is_listed(compiled):
    source = Path(__file__).parents[2] / "csrc" / "library.cpp"
    assert source.read_text().count("m.def(") == len(library.SCHEMAS)


def test_environment_chooses_in_a_fresh_process():
    code = (
        "import logging; logging.basicConfig(); import torch; from rfcn.ops.psroi_pool import *;"
        "from rfcn.ops import library;"
        "print({one.backend for one in library.status()},"
        " psroi_pool(torch.ones(1, 4, 3, 3), torch.tensor([[0., 0, 0, 2, 2]]), 2, 1.0).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"RFCN_OPS": "torch", "PATH": ""},
    )
    assert done.stdout.split() == ["{'torch'}", "tensor(4.)"]
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on the PATH")
def test_with_nvcc_the_cuda_library_is_built_and_registers(compiled):
    torch = pytest.importorskip("torch")
    if torch.version.cuda is None:
        pytest.skip("this torch has no CUDA")
    assert (PACKAGE / "_cuda.so").exists()
    for op in library.SCHEMAS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"rfcn::{op}", "CUDA")


def test_a_gpu_is_asked_too():
    """Where there is a GPU the contract of the operators runs on it (conftest.py); one line says
    where it does not."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use: the contract of the operators ran on the CPU alone")
    reasons = {one.op: one.reason for one in library.status() if one.device == "cuda"}
    assert reasons == dict.fromkeys(library.SCHEMAS, "loaded _cuda.so")
