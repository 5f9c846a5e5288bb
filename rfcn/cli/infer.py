"""`rfcn infer`: detect objects in pictures; annotated copies, a JSON file, score maps."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcn.cli.options import (
    add_device_option,
    add_output_option,
    add_override_option,
    count_or_zero,
    fraction,
)
from rfcn.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from rfcn.inference.detector import Detector

WRITTEN = "detections.json"
"""What a run of this command leaves in its folder besides pictures."""
SHOWN_FAULTS = 3
"""Pictures that cannot be read are counted; so many are explained."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("-w", "--weights", required=True, help="weights folder of a run")
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="pictures, folders of pictures, or patterns such as 'photos/*.jpg'",
    )
    add_override_option(parser)
    add_output_option(parser, default="runs/infer")
    add_device_option(parser)
    parser.add_argument(
        "--threshold", type=fraction, default=0.5, help="lowest score kept (default: 0.5)"
    )
    parser.add_argument(
        "--score-maps",
        type=count_or_zero,
        metavar="N",
        help="also draw the score maps behind detection N of each picture (0 is the surest)",
    )


def run(args: argparse.Namespace) -> int:
    """Detect on every readable picture; what was done stays, also when stopped on the way."""
    from rfcn.build import find_device
    from rfcn.config.loader import override_config
    from rfcn.engine.atomic import make_folder
    from rfcn.inference.detector import Detector
    from rfcn.inference.sources import find_pictures
    from rfcn.inference.writers import name_outputs, write_json

    pictures, passed_over = find_pictures(args.input)
    if passed_over:
        print(f"note: not pictures by their extension, passed over: {_some(passed_over)}")
    output = Path(args.output)
    _check_output(output)
    detector = Detector.from_pretrained(args.weights, device=find_device(args.device or "auto"))
    if args.overrides:
        detector = detector.with_config(override_config(detector.config, args.overrides))
    make_folder(output)
    records: list[dict[str, Any]] = []
    faults: list[DataError] = []
    write_json(output / WRITTEN, records)
    try:
        for picture, copy in zip(pictures, name_outputs(pictures, output), strict=True):
            try:
                records.append(_one(detector, picture, copy, args))
            except DataError as fault:
                faults.append(fault)
                print(f"{picture}: not read", flush=True)
                continue
            found = records[-1]["detections"]
            print(f"{picture}: {_summary([one['label'] for one in found])}", flush=True)
    finally:
        write_json(output / WRITTEN, records)
    print(f"{len(records)} pictures and detections.json are in {output}")
    if faults:
        raise DataError(
            f"{len(faults)} of {len(pictures)} pictures could not be read: "
            + " ".join(str(fault) for fault in faults[:SHOWN_FAULTS])
        )
    return 0


def _check_output(output: Path) -> None:
    """Refuse a folder in which somebody's files could be overwritten.

    Raises:
        ConfigError: it is a file, or holds files that no earlier `infer` wrote.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file. Name a folder, new or empty.")
    if output.is_dir() and any(output.iterdir()) and not (output / WRITTEN).is_file():
        raise ConfigError(
            f"--output {output} holds files that this command did not write, and pictures could be "
            "overwritten. Name another folder, new or empty."
        )


def _one(
    detector: "Detector", picture: Path, copy: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Detect on one picture and draw what was found; its JSON record."""
    from rfcn.build import file_rules
    from rfcn.inference.writers import as_json
    from rfcn.visualization.draw import draw_boxes
    from rfcn.visualization.files import write_image

    image = file_rules(detector.config.data).read(picture)
    found = detector.predict([image])[0].above(args.threshold)
    names = detector.class_names
    drawn = draw_boxes(image, found.boxes, found.labels, names, scores=found.scores)
    write_image(copy, drawn)
    if args.score_maps is not None and args.score_maps < len(found):
        _draw_score_maps(detector, image, args.score_maps, copy)
    return as_json(found, names, file=picture, size=image.shape[:2])


def _draw_score_maps(detector: "Detector", image: "np.ndarray", index: int, copy: Path) -> None:
    from rfcn.inference.explain import explain
    from rfcn.visualization.files import write_image
    from rfcn.visualization.score_maps import draw_score_maps

    path = copy.with_name(f"{copy.stem}_score_maps_{index}.png")
    write_image(path, draw_score_maps(explain(detector, image, index)))


def _summary(labels: list[str]) -> str:
    """What was found, counted: `2 dog, 1 person`."""
    counts = {label: labels.count(label) for label in dict.fromkeys(labels)}
    return ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"


def _some(paths: list[Path], shown: int = 5) -> str:
    """The first few, and how many more."""
    more = f", and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(map(str, paths[:shown])) + more
