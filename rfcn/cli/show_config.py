"""`rfcn show-config`: a config with everything it inherits, or beside the published settings."""

import argparse
import json
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from rfcn.cli.options import add_config_options, config_from
from rfcn.config.catalogue import config_schema
from rfcn.config.loader import config_from_mapping, dump_config
from rfcn.config.paths import expand_path
from rfcn.config.published import COLUMNS, DIFFERS, OneOf, compare
from rfcn.config.schema import Config

WIDTH_OF_FILES = 190
"""Columns of a table that goes to a file or a pipe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config_options(parser, required=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--published",
        action="store_true",
        help="set each value beside the paper's, py-R-FCN's and Deformable-ConvNets'",
    )
    what.add_argument(
        "--schema", action="store_true", help="print the JSON schema of config files, for editors"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; without `--config`, the defaults."""
    if args.schema:
        print(json.dumps(config_schema(), indent=2))
        return 0
    config = config_from(args) if args.config else config_from_mapping({}, args.overrides)
    if args.published:
        print_published(config)
    else:
        print(_data_root(config))
        print(dump_config(config), end="")
    return 0


def _data_root(config: Config) -> str:
    root = Path.cwd() / expand_path(config.data.root, key="data.root")
    return f"# data.root is {root}" + ("" if root.is_dir() else ", which does not exist")


def print_published(config: Config) -> None:
    """Print the table of `rfcn.config.published` for a config."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1))
    table.add_column("setting", no_wrap=True)
    for column in ("value", *COLUMNS, "verdict"):
        table.add_column(column, overflow="fold")
    rows = list(compare(config))
    for row in rows:
        style = "yellow" if row.verdict == DIFFERS else ""
        cells = (row.value, *row.source.cells)
        table.add_row(row.key, *map(_cell, cells), row.verdict, style=style)
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES, markup=False)
    console.print(table)
    differing = [row.key for row in rows if row.verdict == DIFFERS]
    equal = sum(row.verdict.startswith("equal") for row in rows)
    console.print(f"{len(rows)} settings: {equal} as published, {len(differing)} unexplained.")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, OneOf):
        return " or ".join(_cell(choice) for choice in value)
    if isinstance(value, tuple) and len(value) > 5:
        return f"{_cell(value[0])}, ... ({len(value)})"
    if isinstance(value, tuple):
        return ", ".join(_cell(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
