"""`rfcn check-data`: find wrong data before training does."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rfcn.cli.options import add_config_options, config_from, count_or_zero
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Data
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    from rfcn.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config_options(parser, required=False)
    parser.add_argument("--data", metavar="DIR", help="check this folder, without a config")
    parser.add_argument(
        "--format",
        choices=get_args(Data.model_fields["format"].annotation),
        help="its layout (default: what it looks like)",
    )
    parser.add_argument(
        "--sets",
        nargs="+",
        metavar="SET",
        help="with --data: the training set and, if there is one, the validation set",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything that was found")
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures")
    parser.add_argument(
        "--workers",
        type=count_or_zero,
        metavar="N",
        help="processes that decode pictures (default: one for each core)",
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 at a mere warning, too")
    parser.epilog = f"{parser.epilog}\n\nexit code: {EXIT_CODES}"


EXIT_CODES = (
    "0 nothing to mend; 3 training would stop, or lose data; 1 warnings (with --strict); "
    "130 stopped by Ctrl-C, the report is of what was seen until then"
)


def run(args: argparse.Namespace) -> int:
    """Read, look at every picture, print and write; also what is known when stopped on the way."""
    from rfcn.engine.signals import stop_on_signals
    from rfcn.inspection.check import check_data
    from rfcn.inspection.page import page
    from rfcn.inspection.report import as_json
    from rfcn.inspection.text import print_report

    config, parts = _what_to_check(args)
    workers = _cores() if args.workers is None else args.workers
    for name in (args.json, args.html):
        if name and Path(name).is_dir():
            raise ConfigError(f"{name} is a folder. Name a file to write to.")
    with stop_on_signals() as request:
        report = check_data(config, parts=parts, workers=workers, stopped=request.__bool__)
    print_report(report)
    if args.json:
        _write(Path(args.json), json.dumps(as_json(report), indent=1) + "\n")
    if args.html:
        _write(Path(args.html), page(report))
    return request.exit_code or report.exit_code(strict=args.strict)


def _what_to_check(args: argparse.Namespace) -> tuple["Config", tuple[str, ...]]:
    """The config, of `--config` or made for `--data`, and which parts of it.

    Raises:
        ConfigError: both are given, or none; `--sets` or `--format` without `--data`.
    """
    if bool(args.config) == bool(args.data):
        raise ConfigError(
            "name either a config (-c rfcn/r50_voc_ohem.yaml) or a folder (--data DIR --sets train "
            "val)."
        )
    if args.config:
        if args.sets or args.format:
            raise ConfigError(
                "--sets and --format go with --data; with a config say --set data.train=... "
                "data.val=... data.format=..."
            )
        return config_from(args), ("train", "val")
    sets = args.sets or []
    if not 1 <= len(sets) <= 2:
        raise ConfigError(
            "--data goes with --sets TRAIN [VAL]: one or two names, each of sets joined by +."
        )
    layout = args.format or _layout(Path(args.data))
    data = {"root": args.data, "format": layout, "train": sets[0], "val": sets[-1]}
    return config_from_mapping({"data": data}, args.overrides), ("train", "val")[: len(sets)]


def _layout(root: Path) -> str:
    """What a folder looks like; VOC where it looks like nothing, whose message draws the layout."""
    if (root / "annotations").is_dir() or any(root.glob("*/_annotations.coco.json")):
        return "coco"
    return "yolo" if (root / "labels").is_dir() or (root / "data.yaml").is_file() else "voc"


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(path: Path, text: str) -> None:
    from rfcn.engine.atomic import make_folder, write_atomically

    make_folder(path.parent)
    write_atomically(path, lambda file: file.write(text.encode()))
    print(f"written: {path}")
