import errno
import hashlib
import os
import subprocess
import zipfile

import pytest
import torch
from torch import nn

from rfcn.engine.checkpoint import (
    capture,
    checkpoints,
    load_checkpoint,
    newest_good,
    restore,
    save_checkpoint,
)
from rfcn.engine.weights import save_weights
from rfcn.errors import MachineError, NumericalError, WeightsError


def toy() -> tuple[nn.Module, torch.optim.SGD]:
    model = nn.Linear(20, 20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(1, 20)).sum().backward()
    optimizer.step()
    return model, optimizer


def state(step: int = 1, **options: object) -> dict:
    return capture(*toy(), step=step, **options)


@pytest.fixture
def saved(tmp_path):
    return save_checkpoint(tmp_path / "checkpoints", state(5), 5)


def without_digest(path):
    path.with_name(path.name + ".sha256").unlink()
    return path


def test_what_goes_in_comes_out(tmp_path):
    model, optimizer = toy()
    extra = {"classes": ["cat", "dog"], "config": {"lr": 0.1, "steps": [1, 2]}}
    path = save_checkpoint(tmp_path, capture(model, optimizer, step=7, best=0.25, extra=extra), 7)
    loaded = load_checkpoint(path)
    assert loaded["extra"] == extra
    fresh_model, fresh_optimizer = toy()
    assert restore(loaded, fresh_model, fresh_optimizer) == (7, 0.25)
    for name, value in model.state_dict().items():
        assert torch.equal(fresh_model.state_dict()[name], value)
    old, new = optimizer.state_dict()["state"], fresh_optimizer.state_dict()["state"]
    assert all(torch.equal(old[i]["momentum_buffer"], new[i]["momentum_buffer"]) for i in old)


def test_the_digest_is_what_sha256sum_expects(saved):
    digest, name = (saved.parent / f"{saved.name}.sha256").read_text().split()
    assert digest == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert name == saved.name
    command = ["sha256sum", "-c", f"{saved.name}.sha256"]
    assert subprocess.run(command, cwd=saved.parent, capture_output=True).returncode == 0


def test_only_the_newest_are_kept_with_their_digests(tmp_path):
    for step in (1, 2, 10, 100_000_000, 9):
        save_checkpoint(tmp_path, state(step), step, keep=2)
    kept = ["step_00000010.pt", "step_100000000.pt"]
    assert [path.name for path in checkpoints(tmp_path)] == kept
    assert sorted(os.listdir(tmp_path)) == sorted(kept + [f"{name}.sha256" for name in kept])


def test_saving_a_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, state(1, best=0.1), 1)
    path = save_checkpoint(tmp_path, state(1, best=0.2), 1)
    assert load_checkpoint(path)["best"] == 0.2


@pytest.mark.parametrize("where", ["model", "optimizer"])
def test_t1_what_is_not_finite_is_never_written(tmp_path, where):
    model, optimizer = toy()
    if where == "model":
        model.bias.data[3] = float("nan")
    else:
        optimizer.state[model.weight]["momentum_buffer"][0, 0] = float("inf")
    with pytest.raises(NumericalError, match=r"model\.bias|optimizer\.state"):
        save_checkpoint(tmp_path, capture(model, optimizer, step=1), 1)
    assert os.listdir(tmp_path) == []


def test_a_state_that_cannot_be_read_back_safely_is_not_kept(tmp_path):
    with pytest.raises(Exception, match="Weights only load failed"):
        save_checkpoint(tmp_path, state() | {"extra": {"model": nn.Linear(1, 1)}}, 1)
    assert os.listdir(tmp_path) == []


def test_w14_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError):
        save_checkpoint(tmp_path / "file" / "checkpoints", state(), 1)


def test_w14_a_full_disk_keeps_the_checkpoints_before(saved, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(os.listdir(saved.parent))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MachineError, match=r"bytes are free.*What was there before is unt"):
            save_checkpoint(saved.parent, state(6), 6)
    assert sorted(os.listdir(saved.parent)) == before
    assert load_checkpoint(saved)["step"] == 5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing"),
        (b"", "an empty file"),
        (b"hello", "a text file"),
        (b"<html>404</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_w1_the_kind_of_a_wrong_file_is_named(tmp_path, content, words):
    path = tmp_path / "step_00000001.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        load_checkpoint(path)


def test_w1_a_folder_and_another_zip(tmp_path):
    with pytest.raises(WeightsError, match="a folder"):
        load_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(WeightsError, match="a zip archive"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("digest", [True, False])
def test_w2_a_cut_file_is_damaged(saved, digest):
    saved.write_bytes(saved.read_bytes()[:-200])
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(saved if digest else without_digest(saved))


@pytest.mark.parametrize("digest", [True, False])
def test_w3_one_flipped_bit_is_found(saved, digest):
    weights = load_checkpoint(saved)["model"]["weight"].numpy().tobytes()
    content = bytearray(saved.read_bytes())
    content[content.index(weights) + 40] ^= 1
    saved.write_bytes(content)
    torch.load(saved, weights_only=True)  # PyTorch itself does not notice
    with pytest.raises(WeightsError, match="sha256" if digest else "reads back differently"):
        load_checkpoint(saved if digest else without_digest(saved))


def test_a_missing_digest_alone_is_no_fault_and_made_up_for(saved):
    written = (saved.parent / f"{saved.name}.sha256").read_text()
    assert load_checkpoint(without_digest(saved))["step"] == 5
    assert newest_good(saved.parent, print)["step"] == 5
    assert (saved.parent / f"{saved.name}.sha256").read_text() == written


class Evil:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return (os.mkdir, (str(self.sentinel),))


def test_w4_a_malicious_file_is_refused_and_runs_nothing(tmp_path):
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "step_00000001.pt"
    torch.save({"kind": "rfcn-train", "model": Evil(sentinel)}, path)
    with pytest.raises(WeightsError, match="is refused"):
        load_checkpoint(path)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}, "meta": {"mmdet_version": "3.0"}}, r"state_dict, meta.*MMDetection"),
        ({"model": {}, "__author__": "Detectron2 Model Zoo"}, r"model, __author__.*Detectron2"),
        ([1, 2], "list"),
    ],
)
def test_w5_a_file_of_another_program(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=rf"another program.*{words}"):
        load_checkpoint(tmp_path / "a.pt")


def test_w7_another_model_is_refused_and_nothing_is_loaded(saved):
    model = nn.Sequential()
    model.weight, model.bias = nn.Parameter(torch.zeros(20, 20)), nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(WeightsError, match=r"step 5 belongs.*1 of 2.*bias: model \(3,\), f"):
        restore(load_checkpoint(saved), model, optimizer)
    assert not model.weight.any()


def test_w7_another_optimizer_is_refused(saved):
    model = nn.Linear(20, 20)
    optimizer = torch.optim.SGD([{"params": [one]} for one in model.parameters()], lr=0.1)
    with pytest.raises(WeightsError, match="belongs to another model"):
        restore(load_checkpoint(saved), model, optimizer)


def test_w10_a_checkpoint_of_a_gpu_is_read_on_a_cpu(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(state(), path := tmp_path / "step_00000001.pt")
    assert b"cuda:0" in path.read_bytes()
    assert load_checkpoint(path)["model"]["weight"].device.type == "cpu"


def test_w9_not_finite_weights_are_named(tmp_path):
    bad = state()
    bad["model"]["bias"] = torch.tensor([float("nan")])
    torch.save(bad, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="bias holds NaN"):
        load_checkpoint(tmp_path / "a.pt")


def test_w11_a_newer_format_names_both_versions(tmp_path):
    torch.save(state() | {"format": 9}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"format 9.*up to 2"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_run_whose_rows_lie_in_the_earlier_order_is_refused(tmp_path):
    torch.save(state() | {"format": 1}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"format 1, in which the rows.*reads 2.*begin it anew"):
        load_checkpoint(tmp_path / "a.pt")


def test_w12_weights_are_no_checkpoint(tmp_path):
    file = save_weights(tmp_path / "w", {"a": torch.zeros(1)}, {"classes": ["a"]})
    for path in (file, file.parent):
        with pytest.raises(WeightsError, match="weights only, no optimizer state"):
            load_checkpoint(path)


def test_w2_the_newest_good_one_is_taken_and_the_damaged_named(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, state(step), step)
    for step in (2, 3):
        (tmp_path / f"step_0000000{step}.pt").write_bytes(b"PK cut")
    (tmp_path / "step_00000004.pt.tmp").write_bytes(b"half")
    lines: list[str] = []
    found = newest_good(tmp_path, lines.append)
    assert found is not None
    assert found["step"] == 1
    assert ["step_00000003" in lines[0], "step_00000002" in lines[1]] == [True, True]
    assert len(lines) == 2
    assert not (tmp_path / "step_00000004.pt.tmp").exists()


def test_no_checkpoint_is_none_and_only_bad_ones_are_an_error(tmp_path):
    assert newest_good(tmp_path / "missing", print) is None
    assert newest_good(tmp_path, print) is None
    (tmp_path / "step_00000001.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="none of the 1 checkpoints"):
        newest_good(tmp_path, lambda line: None)
