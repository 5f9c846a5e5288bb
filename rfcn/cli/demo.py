"""`rfcn demo`: draw a small data set, train on it, measure and show."""

import argparse
from pathlib import Path

from rfcn.cli.options import add_override_option, output_folder
from rfcn.cli.train import train_and_report

CONFIG = "demo.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "-o", "--output", type=output_folder, default="runs/demo", help="default: runs/demo"
    )
    add_override_option(parser)


def run(args: argparse.Namespace) -> int:
    """The whole road; a run that was stopped goes on, a finished one shows its table again."""
    from rfcn.config.loader import load_config
    from rfcn.config.paths import expand_path
    from rfcn.datasets.shapes import make_shapes
    from rfcn.engine.checkpoint import checkpoints

    config = load_config(CONFIG, args.overrides)
    make_shapes(expand_path(config.data.root, key="data.root"), seed=config.runtime.seed)
    output = Path(args.output)
    resume = bool(checkpoints(output / "checkpoints"))
    return train_and_report(config, output, resume=resume, overwrite=not resume)
