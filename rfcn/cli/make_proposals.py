"""`rfcn make-proposals`: Selective Search boxes of a data set, to train and test without an RPN."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.options import add_config_options, add_output_option, config_from
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    from rfcn.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config_options(parser)
    add_output_option(parser, default="data/proposals")
    parser.add_argument(
        "--most", type=int, default=2000, help="boxes kept a picture (default: 2000)"
    )
    parser.add_argument("--quality", action="store_true", help="its slower mode, which finds more")


def run(args: argparse.Namespace) -> int:
    """Search every picture of data.train and data.val; print the settings that read the result."""
    from rfcn.build import build_dataset
    from rfcn.engine.atomic import make_folder
    from rfcn.inference.proposing import search_dataset

    if args.most < 1:
        raise ConfigError(f"--most {args.most}: expected at least 1.")
    config = config_from(args)
    output = Path(args.output)
    make_folder(output)
    train = build_dataset(config.data, config.data.train)
    val = build_dataset(config.data, config.data.val, class_names=train.class_names)
    files = {}
    for name, dataset in (("train", train), ("val", val)):
        files[name] = output / f"{name}.npz"
        boxes = search_dataset(dataset, files[name], most=args.most, quality=args.quality)
        print(f"{files[name]}: {boxes} boxes of {len(dataset)} pictures")
    print(_settings(config, files))
    return 0


def _settings(config: "Config", files: dict[str, Path]) -> str:
    """The YAML that reads the files."""
    return (
        "model:\n  proposer: {type: given}\n"
        f"data:\n  root: {config.data.root}\n  proposals:\n"
        f"    train: [{files['train']}]\n    val: [{files['val']}]\n"
        "    corners: x1y1x2y2\n    pixels: half_open"
    )
