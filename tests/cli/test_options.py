"""The options that commands share."""

import argparse

import pytest

from rfcn.cli.options import (
    add_config_options,
    add_device_option,
    add_output_option,
    config_from,
    count,
    count_or_zero,
    fraction,
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


@pytest.mark.parametrize("text", ["1.7", "-0.1", "nan", "inf", "half", ""])
def test_l7_not_a_fraction(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
        fraction(text)


def test_whole_numbers() -> None:
    assert [count_or_zero(text) for text in ("0", "7")] == [0, 7]
    for text in ("-1", "1.5", "", "one"):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 0"):
            count_or_zero(text)
    assert [count(text) for text in ("1", "70")] == [1, 70]
    for text in ("0", "-1", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1"):
            count(text)
