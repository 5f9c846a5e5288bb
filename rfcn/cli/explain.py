"""`rfcn explain`: the votes behind a detection, as a picture and as a page to click through."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.options import (
    add_device_option,
    add_output_option,
    add_override_option,
    count_or_zero,
)
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    from rfcn.inference.detector import Detector
    from rfcn.inference.results import NamedDetections
    from rfcn.visualization.explanation import Explanation

LISTED = 12
"""Detections that are named, for the choice of another."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "-w", "--weights", required=True, help="weights folder of a run, or OWNER/NAME of the hub"
    )
    parser.add_argument("picture", help="the picture to detect on")
    parser.add_argument(
        "--detection",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="which of its detections; 0, the default, is the surest",
    )
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="count only detections of this class"
    )
    add_override_option(parser)
    add_output_option(parser, default="runs/explain")
    add_device_option(parser)


def run(args: argparse.Namespace) -> int:
    """Detect, explain one detection, write the picture and the page."""
    from rfcn.build import file_rules, find_device
    from rfcn.config.loader import override_config
    from rfcn.engine.atomic import make_folder, write_atomically
    from rfcn.inference.detector import Detector
    from rfcn.inference.explain import explain_detection
    from rfcn.visualization.explanation import draw_explanation
    from rfcn.visualization.explanation_page import render_explanation
    from rfcn.visualization.files import write_image

    detector = Detector.from_pretrained(args.weights, device=find_device(args.device or "auto"))
    if args.overrides:
        detector = detector.with_config(override_config(detector.config, args.overrides))
    picture = Path(args.picture)
    image = file_rules(detector.config.data).read(picture.expanduser())
    try:
        found = explain_detection(detector, image, args.detection, class_name=args.class_name)
    except IndexError:
        raise _not_there(detector, args, detector.predict(image)) from None
    output = Path(args.output)
    make_folder(output)
    stem = output / f"{picture.stem}_explained_{found.index}"
    drawn, page = Path(f"{stem}.png"), Path(f"{stem}.html")
    write_image(drawn, draw_explanation(found))
    html = render_explanation(found, name=picture.name).encode()
    write_atomically(page, lambda file: file.write(html))
    print(_said(found))
    print(f"{drawn} is the picture, {page} the page: open it in a browser")
    return 0


def _not_there(
    detector: "Detector", args: argparse.Namespace, found: "NamedDetections"
) -> ConfigError:
    """The fault of asking for a detection that there is not, with those that there are."""
    kind = f" of class '{args.class_name}'" if args.class_name else ""
    lowest = detector.config.model.postprocess.score_threshold
    if not len(found):
        return ConfigError(
            f"{args.picture}: nothing was found, so there is nothing to explain. Scores below "
            f"{lowest:g} are dropped; --set model.postprocess.score_threshold=0 keeps all."
        )
    names = [f"{number} {name}" for number, name in enumerate(found.names[:LISTED])]
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return ConfigError(
        f"{args.picture}: there is no detection {args.detection}{kind}. Found were, surest first: "
        f"{', '.join(names)}{more}. Choose one with --detection N, without --class."
    )


def _said(found: "Explanation") -> str:
    """The sum in words, and the bins that speak loudest."""
    name, rival = (found.class_names[label] for label in (found.label, found.runner_up))
    scores, votes = found.hit.scores, found.hit.votes[found.label]
    best, worst = divmod(int(votes.argmax()), found.k), divmod(int(votes.argmin()), found.k)
    return (
        f"detection {found.index}: {name} {found.score:.3f}; runner-up {rival} "
        f"{float(scores[found.runner_up]):.3f}\n"
        f"its {found.k**2} bins vote {float(votes.double().mean()):.2f} in the mean: most for it "
        f"row {best[0] + 1}, column {best[1] + 1} ({float(votes.max()):+.2f}), least row "
        f"{worst[0] + 1}, column {worst[1] + 1} ({float(votes.min()):+.2f})\n"
        f"the same RoI moved by half its size: {float(found.miss.scores[found.label]):.3f}"
    )
