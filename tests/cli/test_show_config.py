"""`rfcn show-config`."""

import json
from pathlib import Path

import pytest

from rfcn.cli.main import main
from rfcn.config.catalogue import config_schema
from rfcn.config.loader import load_config
from rfcn.config.published import SOURCES
from rfcn.config.schema import Config


def test_what_it_prints_is_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "-c", "rfcn/r101_voc_k3.yaml", "--set", "train.lr=0.5"]) == 0
    file = tmp_path / "a.yaml"
    file.write_text(capsys.readouterr().out)
    assert load_config(file) == load_config("rfcn/r101_voc_k3.yaml", ["train.lr=0.5"])


def test_without_a_config_it_prints_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show-config", "--set", "data.workers=0"]) == 0
    file = tmp_path / "a.yaml"
    file.write_text(capsys.readouterr().out)
    config = load_config(file)
    assert config.data.workers == 0
    assert config.model == Config().model


# C19
def test_c19_the_resolved_root_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RFCN_TEST_PLACE", str(tmp_path))
    main(["show-config", "--set", "data.root=$RFCN_TEST_PLACE"])
    assert capsys.readouterr().out.startswith(f"# data.root is {tmp_path}\n")
    main(["show-config", "--set", "data.root=$RFCN_TEST_PLACE/absent"])
    assert "absent, which does not exist\n" in capsys.readouterr().out


def test_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "--published"]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.split()}
    assert len(set(lines) & set(SOURCES)) > 60
    assert "110000" in lines["train.iterations"]
    assert "equal: all" in lines["train.momentum"]
    assert "equal: paper, py-R-FCN" in lines["train.lr"]
    assert shown.strip().endswith("0 unexplained.")


def test_published_counts_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["show-config", "--published", "--set", "train.lr=0.25", "train.momentum=0.5"])
    assert capsys.readouterr().out.strip().endswith("2 unexplained.")


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema()


def test_a_fault_in_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "--set", "train.lrr=1"]) == 2
    assert "Did you mean 'train.lr'?" in capsys.readouterr().err
