"""`rfcn make-shapes`: draw the data set of the demo, in VOC's layout."""

import argparse
from pathlib import Path

from rfcn.cli.options import add_output_option
from rfcn.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_output_option(parser, default="data/shapes")
    parser.add_argument(
        "--train", type=int, default=500, help="pictures to train on (default: 500)"
    )
    parser.add_argument(
        "--val", type=int, default=120, help="pictures to evaluate on (default: 120)"
    )
    parser.add_argument(
        "--kind",
        choices=("shapes", "position"),
        default="shapes",
        help="shapes: eight classes, that of the demo; position: four classes that differ only in "
        "where a part sits, that of rfcn reproduce position",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed draws others (default: 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the pictures, unless the same ones are there."""
    from rfcn.datasets.shapes import make_shapes

    for name in ("train", "val"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected at least 1.")
    folder = make_shapes(
        Path(args.output), train=args.train, val=args.val, seed=args.seed, kind=args.kind
    )
    print(f"{args.train} + {args.val} pictures are in {folder}")
    return 0
