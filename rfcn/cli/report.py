"""What train, eval and demo print when they are done, and whether that is good enough."""

import shlex
import sys
from pathlib import Path

from rfcn.config.schema import Config
from rfcn.evaluation.report import print_table
from rfcn.evaluation.result import Result

BELOW_FLOOR = 1
"""Exit code when the headline is under `eval.floor`."""


def report(result: Result, config: Config, output: Path) -> int:
    """Print the table of classes and the folder's contents; 0, or 1 under the floor."""
    print_table(result)
    for name, path in (
        ("weights", output / "weights" / "best"),
        ("pictures", output / "pictures"),
        ("figures", output / "eval"),
        ("report", output / "eval" / "report.html"),
    ):
        if path.exists():
            print(f"{name + ':':<10}{path}")
    weights = output / "weights" / "best"
    if weights.exists():
        folder = shlex.quote(str(weights))
        print(f"next:     rfcn infer --weights {folder} --input your.jpg --output seen")
    (name, value), floor = result.headline, config.eval.floor
    if floor is not None and (value is None or value < floor):
        reached = "not available" if value is None else f"{value:.4f}"
        print(f"error: {name} is {reached}, below eval.floor, {floor:g}.", file=sys.stderr)
        return BELOW_FLOOR
    return 0
