"""The options that several commands share, and the config they lead to."""

import argparse
import os
from pathlib import Path

from rfcn.config.loader import load_config
from rfcn.config.schema import Config


def add_config_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """`-c/--config FILE` and `--set key=value ...`; read them with `config_from`."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        required=required,
        help="YAML file, of yours or shipped (rfcn/r50_voc_ohem.yaml)",
    )
    add_override_option(parser)


def add_override_option(parser: argparse.ArgumentParser) -> None:
    """`--set key=value ...`, as often as wanted."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="override settings: --set train.lr=5e-4 data.workers=0",
    )


def add_output_option(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """`-o/--output DIR`."""
    text = "folder to write to" + (f" (default: {default})" if default else "")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=output_folder, default=default, help=text
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """`--device NAME`, which wins over the config's `runtime.device`."""
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")


def output_folder(text: str) -> str:
    """An option's folder that can be written to, or made, before any work is put into its files.

    Raises:
        ArgumentTypeError: it cannot; the parser puts the option's name before it.
    """
    folder = Path(text)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file. Name a folder, new or empty")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{text} lies below {there}, which is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(
            f"{text} cannot be written: {there} belongs to another user or is read-only. Name a "
            "folder you may write to"
        )
    return text


def fraction(text: str) -> float:
    """An option's number in 0..1.

    Raises:
        ArgumentTypeError: it is not one; the parser puts the option's name before it.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def count_or_zero(text: str) -> int:
    """An option's whole number from 0 on.

    Raises:
        ArgumentTypeError: it is not one; the parser puts the option's name before it.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def count(text: str) -> int:
    """An option's whole number from 1 on.

    Raises:
        ArgumentTypeError: it is not one; the parser puts the option's name before it.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def config_from(args: argparse.Namespace) -> Config:
    """The config of `--config`, `--set` and, where the command has it, `--device`.

    Raises:
        ConfigError: as `load_config`.
    """
    overrides = list(args.overrides)
    if getattr(args, "device", None):
        overrides.append(f"runtime.device={args.device}")
    return load_config(args.config, overrides)
