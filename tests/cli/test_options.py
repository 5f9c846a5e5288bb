"""The options that commands share."""

import argparse
import os
from pathlib import Path

import pytest

from rfcn.cli.options import (
    add_config_options,
    add_device_option,
    add_output_option,
    config_from,
    count,
    count_or_zero,
    fraction,
    output_folder,
)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    add_output_option(parser, default="runs/x")
    add_device_option(parser)
    return parser.parse_args(["-c", "rfcn/r101_voc.yaml", *words])


def test_overrides_are_collected_from_every_flag() -> None:
    args = parse("--set", "train.lr=1", "data.workers=0", "-o", "out", "--set", "train.lr=2")
    assert args.overrides == ["train.lr=1", "data.workers=0", "train.lr=2"]
    assert args.output == "out"
    config = config_from(args)
    assert (config.train.lr, config.data.workers) == (2.0, 0)


def test_defaults() -> None:
    args = parse()
    assert (args.overrides, args.output, args.device) == ([], "runs/x", None)
    assert config_from(args).runtime.device == "auto"


def test_the_device_option_wins() -> None:
    assert config_from(
        parse("--device", "cuda:1", "--set", "runtime.device=cpu")
    ).runtime.device == ("cuda:1")


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("5e-1", 0.5)])
def test_fractions(text: str, value: float) -> None:
    assert fraction(text) == value


# L7
@pytest.mark.parametrize("text", ["1.7", "-0.1", "nan", "inf", "half", ""])
def test_l7_not_a_fraction(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
        fraction(text)


def test_an_output_folder_may_be_new_or_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new/deep", Path("new")):
        assert output_folder(str(folder)) == str(folder)
    assert list(tmp_path.iterdir()) == [], "it is made when something is written"


# L5
def test_l5_an_output_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(argparse.ArgumentTypeError, match=f"{file} is a file. Name a folder"):
        output_folder(str(file))
    with pytest.raises(argparse.ArgumentTypeError, match=f"lies below {file}, which is a file"):
        output_folder(str(file / "deep/er"))
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(argparse.ArgumentTypeError, match=f"{tmp_path} belongs to another user"):
        output_folder(str(tmp_path / "new/deep"))
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


# L5
@pytest.mark.parametrize(
    "words",
    [
        "train -c rfcn/r101_voc.yaml -o",
        "eval -w w -o",
        "eval -w w --submission",
        "infer -w w -i a.jpg -o",
        "demo -o",
        "reproduce position -o",
        "fetch-data voc2007 -o",
        "make-shapes -o",
        "make-proposals -c rfcn/r101_voc.yaml -o",
    ],
)
def test_l5_every_command_looks_before_it_works(words: str, tmp_path: Path, fault) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    option = words.split()[-1]
    message = fault(*words.split(), file, code=2)
    assert f"argument {'-o/--output' if option == '-o' else option}: {file} is a file" in message
    assert file.read_text() == "mine"


def test_whole_numbers() -> None:
    assert [count_or_zero(text) for text in ("0", "7")] == [0, 7]
    for text in ("-1", "1.5", "", "one"):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 0"):
            count_or_zero(text)
    assert [count(text) for text in ("1", "70")] == [1, 70]
    for text in ("0", "-1", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1"):
            count(text)
