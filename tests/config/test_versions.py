"""C20: configs of other versions of the schema."""

from pathlib import Path

import pytest

from rfcn.config import versions
from rfcn.config.loader import config_from_mapping, dump_config, load_config, stored_config
from rfcn.config.schema import Config
from rfcn.config.versions import VERSION
from rfcn.errors import ConfigError


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history in which keys were renamed, moved, and a section too."""
    history = {"solver": "train", "train.base_lr": "train.lr", "model.seed": "runtime.seed"}
    monkeypatch.setattr(versions, "RENAMED", history)


def write(folder: Path, text: str) -> Path:
    file = folder / "a.yaml"
    file.write_text(text)
    return file


def test_this_version_may_be_said(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, f"version: {VERSION}\n")) == Config()
    assert config_from_mapping({"version": VERSION}) == Config()


# C20
def test_c20_what_is_written_says_its_version(tmp_path: Path) -> None:
    assert dump_config(Config()).startswith(f"version: {VERSION}\n")
    assert stored_config(Config())["version"] == VERSION
    assert config_from_mapping(stored_config(Config())) == Config()


# C20
@pytest.mark.parametrize("text", ["version: {}\n", "base: newer.yaml\n"], ids=["itself", "a base"])
def test_c20_a_newer_file_is_refused_by_both_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "newer.yaml").write_text(f"train: {{lr: 1.0}}\nversion: {VERSION + 1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text.format(VERSION + 1) + "train: {unheard_of: 1}"))
    line = 1 if "{}" in text else 2
    assert f".yaml:{line}: version: the config was written for version {VERSION + 1}" in str(
        caught.value
    )
    assert f"reads up to {VERSION}. Update rfcn." in str(caught.value)


# C20
def test_c20_so_is_a_newer_one_that_came_with_weights() -> None:
    newer = {**stored_config(Config()), "version": VERSION + 1, "unheard_of": {}}
    with pytest.raises(ConfigError, match=r"^w: stored config: version: .* version 2 of"):
        config_from_mapping(newer, source="w: stored config")


@pytest.mark.parametrize("version", ["0", "one", "1.0", "true", ""])
def test_versions_are_whole_numbers(version: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:1: version: expected a whole number"):
        load_config(write(tmp_path, f"version: {version}\n"))


# C20
@pytest.mark.usefixtures("renamed")
def test_c20_old_names_are_read_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "model:\n  seed: 5\nsolver:\n  base_lr: 0.5\n  momentum: 0.25\n"
    config = load_config(write(tmp_path, text), ["solver.weight_decay=0"])
    assert config.runtime.seed == 5
    assert (config.train.lr, config.train.momentum, config.train.weight_decay) == (0.5, 0.25, 0)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{tmp_path / 'a.yaml'}:3: solver is called train now and was read as that.",
        f"{tmp_path / 'a.yaml'}:4: train.base_lr is called train.lr now and was read as that.",
        f"{tmp_path / 'a.yaml'}:2: model.seed is called runtime.seed now and was read as that.",
        "command line: solver.weight_decay=0: solver is called train now and was read as that.",
    ]


@pytest.mark.usefixtures("renamed")
def test_an_old_and_a_new_name_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:2: .* called train.lr now.*a\.yaml:3"):
        load_config(write(tmp_path, "train:\n  base_lr: 1\n  lr: 2\n"))
