import pytest

from rfcn.engine.resume import check_same_config
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
