"""`rfcn make-proposals`: Selective Search boxes of a data set, to train and test without an RPN."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.options import add_config_options, add_output_option, config_from
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from rfcn.config.schema import Config
    from rfcn.datasets.sample import Dataset

KEPT_EVERY = 200
"""Pictures after which what was found so far is kept, for a stopped command to go on from."""


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
        _search(dataset, files[name], args)
    print(_settings(config, files))
    return 0


def _search(dataset: "Dataset", path: Path, args: argparse.Namespace) -> None:
    """Write the proposals of a data set; at once where they are complete, and from where an earlier
    run was stopped."""
    from tqdm import tqdm

    from rfcn.datasets.proposal_files import read_proposals, write_proposals
    from rfcn.datasets.selective_search import selective_search
    from rfcn.engine.atomic import write_atomically

    found: dict[str, np.ndarray] = read_proposals(path) if path.is_file() else {}
    missing = [index for index, name in enumerate(dataset.ids) if name not in found]
    for count, index in enumerate(tqdm(missing, f"Searching for {path.name}", disable=None), 1):
        image = dataset[index].image
        found[dataset.ids[index]] = selective_search(image, most=args.most, quality=args.quality)
        if count % KEPT_EVERY == 0 or count == len(missing):
            write_atomically(path, lambda file: write_proposals(file, found))
    boxes = sum(len(found[name]) for name in dataset.ids)
    print(f"{path}: {boxes} boxes of {len(dataset)} pictures")


def _settings(config: "Config", files: dict[str, Path]) -> str:
    """The YAML that reads the files."""
    return (
        "model:\n  proposer: {type: given}\n"
        f"data:\n  root: {config.data.root}\n  proposals:\n"
        f"    train: [{files['train']}]\n    val: [{files['val']}]\n"
        "    corners: x1y1x2y2\n    pixels: half_open"
    )
