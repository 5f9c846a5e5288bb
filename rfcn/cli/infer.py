"""`rfcn infer`: detect objects in pictures; annotated copies, a JSON file, score maps."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcn.cli.options import add_device_option, add_output_option, fraction

if TYPE_CHECKING:
    import numpy as np

    from rfcn.inference.detector import Detector


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
    add_output_option(parser, default="runs/infer")
    add_device_option(parser)
    parser.add_argument(
        "--threshold", type=fraction, default=0.5, help="lowest score kept (default: 0.5)"
    )
    parser.add_argument(
        "--score-maps",
        type=int,
        metavar="N",
        help="also draw the score maps behind detection N of each picture (0 is the surest)",
    )


def run(args: argparse.Namespace) -> int:
    """Detect on every picture; what was done stays, also when stopped on the way."""
    from rfcn.build import find_device
    from rfcn.inference.detector import Detector
    from rfcn.inference.sources import find_pictures
    from rfcn.inference.writers import name_outputs, write_json

    pictures, passed_over = find_pictures(args.input)
    if passed_over:
        print(f"note: {len(passed_over)} files are not pictures and were passed over")
    detector = Detector.from_pretrained(args.weights, device=find_device(args.device or "auto"))
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    try:
        for picture, copy in zip(pictures, name_outputs(pictures, output), strict=True):
            records.append(_one(detector, picture, copy, args))
            found = records[-1]["detections"]
            print(f"{picture}: {_summary([one['label'] for one in found])}", flush=True)
    finally:
        write_json(output / "detections.json", records)
    print(f"{len(records)} pictures and detections.json are in {output}")
    return 0


def _one(
    detector: "Detector", picture: Path, copy: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Detect on one picture and draw what was found; its JSON record."""
    from rfcn.datasets.image import read_image
    from rfcn.inference.writers import as_json
    from rfcn.visualization.draw import draw_boxes
    from rfcn.visualization.files import write_image

    image = read_image(picture)
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
