"""What train, eval and demo print when they are done, and whether that is good enough."""

import shlex
import sys
from pathlib import Path

from rfcn.config.schema import Config
from rfcn.evaluation.report import print_table
from rfcn.evaluation.voc import VOCResult

BELOW_FLOOR = 1
"""Exit code when the mean AP is under `eval.floor`."""


def report(result: VOCResult, config: Config, output: Path) -> int:
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
    threshold = config.eval.iou_thresholds[0]
    mean, floor = result.mean_ap(threshold), config.eval.floor
    if floor is not None and (mean is None or mean < floor):
        reached = "not available" if mean is None else f"{mean:.4f}"
        print(
            f"error: mAP@{threshold:g} is {reached}, below eval.floor, {floor:g}.", file=sys.stderr
        )
        return BELOW_FLOOR
    return 0
