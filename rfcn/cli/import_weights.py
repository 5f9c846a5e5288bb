"""`rfcn import-weights`: weights of Caffe, torchvision and others, as weights of this program."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.options import add_output_option, add_override_option
from rfcn.config.classes import read_class_file
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    from rfcn.importers.convert import Imported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "file", metavar="FILE", help="weights of another program, see docs/importing.md"
    )
    add_output_option(parser, default="imported")
    parser.add_argument(
        "--backbone", action="store_true", help="of a detector, take the backbone alone"
    )
    parser.add_argument(
        "--classes",
        metavar="NAME",
        nargs="+",
        default=[],
        help="names of a detector's classes in the order of their labels, or one text file of them "
        "(default: VOC's of 20, COCO's of 80)",
    )
    parser.add_argument(
        "--box-statistics",
        choices=("auto", "folded", "normalised"),
        default="auto",
        help="whether the deviations of box targets are multiplied into the last layer (default: "
        "auto, by its numbers)",
    )
    parser.add_argument(
        "--colours",
        choices=("rgb", "bgr"),
        help="what the first layer reads first, if not as usual",
    )
    parser.add_argument(
        "--style",
        choices=("torchvision", "caffe"),
        help="which step of a ResNet halves the maps, if not as usual (model.backbone.style)",
    )
    parser.add_argument(
        "--eps",
        type=float,
        metavar="NUMBER",
        help="what torchvision's norms add to variances (default: 1e-5)",
    )
    add_override_option(parser)


def run(args: argparse.Namespace) -> int:
    """Import one file; print what went where and how to go on."""
    from rfcn.importers.convert import Options, import_weights
    from rfcn.importers.detector import Wishes

    if args.eps is not None and not 0 <= args.eps <= 1:
        raise ConfigError(f"--eps {args.eps:g}: expected a number from 0 to 1.")
    options = Options(
        wishes=Wishes(_class_names(args.classes), args.box_statistics),
        backbone_only=args.backbone,
        colours=args.colours,
        style=args.style,
        eps=args.eps,
        overrides=args.overrides,
    )
    done = import_weights(Path(args.file).expanduser(), Path(args.output), options)
    _print(done, Path(args.output))
    return 0


def _class_names(words: list[str]) -> tuple[str, ...]:
    """Names, or those of the one text file that is named."""
    if len(words) == 1 and Path(words[0]).expanduser().is_file():
        return read_class_file(words[0])
    return tuple(words)


def _print(done: "Imported", output: Path) -> None:
    print(done.text)
    print()
    for note in done.notes:
        print(f"note: {note}")
    print(f"wrote {done.what}: {done.path}, and the report {output / 'import.json'}")
    if done.settings:
        print(f"settings that read it:\n{done.settings}")
    else:
        folder = shlex.quote(str(done.path))
        print(f"next: rfcn infer --weights {folder} --input your.jpg --output seen")
