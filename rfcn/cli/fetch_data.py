"""`rfcn fetch-data`: public data sets, fetched, checked and laid out."""

import argparse
from pathlib import Path

from rfcn.cli.options import output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "sets", nargs="*", default=[], metavar="SET", help="voc2007, voc2012, coco2017, coco2014"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=output_folder,
        default="data",
        help="folder of all data (default: data)",
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="where the archives lie side by side, if not at their home"
    )
    parser.add_argument(
        "--keep-archives", action="store_true", help="do not delete them when they are unpacked"
    )


def run(args: argparse.Namespace) -> int:
    """Fetch the sets; without any, say what there is."""
    from rfcn.datasets.published_sets import PUBLISHED, at_mirror, fetch
    from rfcn.download import gigabytes
    from rfcn.errors import ConfigError

    if not args.sets:
        for name, one in PUBLISHED.items():
            needed = f"{gigabytes(one.fetched)} to fetch, {gigabytes(one.unpacked)} on the disk"
            print(f"{name:<9} {one.title}: {needed}")
        print("The largest archive and its files need room side by side for a while.")
        return 0
    unknown = [name for name in args.sets if name not in PUBLISHED]
    if unknown:
        raise ConfigError(f"unknown set {unknown[0]!r}. There are {', '.join(PUBLISHED)}.")
    root = Path(args.output)
    root.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        published = PUBLISHED[name]
        if args.mirror:
            published = at_mirror(published, args.mirror)
        try:
            folder = fetch(published, root, keep_archives=args.keep_archives)
        except KeyboardInterrupt:
            print("stopped; the same command goes on where it was")
            raise
        print(f"{name}: all of it is in {folder}")
    return 0
