import pytest
import torch

from rfcn.engine.checkpoint import capture, path_of, save_checkpoint
from rfcn.engine.distributed import World
from rfcn.engine.resume import change_of_processes, check_same_config, find_checkpoint
from rfcn.errors import ConfigError

SAVED = {
    "model": {"roi_head": {"type": "rfcn", "k": 7}},
    "train": {"lr": 1e-3, "lr_steps": [5, 8]},
    "data": {"root": "a", "workers": 2},
    "runtime": {"log_every": 20},
}


def changed(section: str, **values: object) -> dict:
    return SAVED | {section: SAVED[section] | values}


def test_the_same_config_passes_even_with_tuples_for_lists():
    assert check_same_config(SAVED, changed("train", lr_steps=(5, 8))) == []


def test_w16_allowed_differences_are_said():
    lines = check_same_config(
        SAVED,
        changed("data", workers=0)
        | changed("runtime", log_every=1)
        | {"data": SAVED["data"] | {"workers": 0}},
    )
    assert lines == ["data.workers: 2 -> 0", "runtime.log_every: 20 -> 1"]


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (changed("train", lr=2e-3), r"train\.lr: 0\.001 -> 0\.002"),
        (changed("model", roi_head={"type": "rfcn", "k": 3}), r"model\.roi_head\.k: 7 -> 3"),
        (changed("train", extra=1), r"train\.extra: \(absent\) -> 1"),
        ({key: SAVED[key] for key in ("model", "data", "runtime")}, r"train\.lr: .* -> \(absent\)"),
    ],
)
def test_w16_other_differences_are_refused_with_both_values(current, words):
    with pytest.raises(ConfigError, match=words):
        check_same_config(SAVED, current)


def test_a_key_is_not_allowed_because_it_begins_like_one():
    with pytest.raises(ConfigError, match="rooted"):
        check_same_config(SAVED, changed("data", rooted=1), allowed=("data.root",))


@pytest.mark.parametrize("before", [None, 2])
def test_the_same_number_of_processes_is_no_news(before):
    assert change_of_processes(before, 2) == []


def test_w19_another_number_of_processes_is_said():
    (line,) = change_of_processes(2, 1)
    assert line.startswith("processes: 2 -> 1. The steps stay the same")


class Follower(World):
    """A process that is told what the other one has found."""

    rank, size, told = 1, 2, None

    def share(self, value):
        assert value is None, "it has not looked itself"
        return self.told


def test_all_processes_go_on_from_the_checkpoint_that_the_first_has_found(tmp_path):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, capture(model, optimizer, step=step), step)
    path_of(tmp_path, 3).write_bytes(b"PK cut")
    said = []
    assert find_checkpoint(tmp_path, World(), said.append)["step"] == 2
    assert len(said) == 1
    Follower.told = 2
    (tmp_path / "step_00000004.pt.tmp").touch()
    assert find_checkpoint(tmp_path, Follower(), print)["step"] == 2
    assert (tmp_path / "step_00000004.pt.tmp").exists(), "another may be writing it"
    Follower.told = None
    assert find_checkpoint(tmp_path, Follower(), print) is None
