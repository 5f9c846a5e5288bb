"""`rfcn train`: train a detector from a config."""

import argparse
from pathlib import Path

from rfcn.cli.options import (
    add_config_options,
    add_device_option,
    config_from,
    output_folder,
)
from rfcn.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_config_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=output_folder,
        help="folder of the run (default: runs/ and the name of the config)",
    )
    add_device_option(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --output")


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, print the table."""
    output = Path(args.output or f"runs/{Path(args.config).stem}")
    return train_and_report(config_from(args), output, resume=args.resume, overwrite=args.overwrite)


def train_and_report(config: Config, output: Path, *, resume: bool, overwrite: bool) -> int:
    """Run the experiment, print its table and where its files are; the exit code."""
    from rfcn.cli.report import report
    from rfcn.experiment import run_experiment

    outcome = run_experiment(config, output, resume=resume, overwrite=overwrite)
    if outcome is None:  # one of several processes, not the one that speaks
        return 0
    if isinstance(outcome, int):
        return 128 + outcome
    return report(outcome, config, output)
