"""`rfcn eval`: measure a trained detector."""

import argparse
from pathlib import Path

from rfcn.cli.options import add_device_option, add_output_option, add_override_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("-w", "--weights", required=True, help="weights folder of a run")
    add_override_option(parser)
    add_output_option(parser)
    add_device_option(parser)
    parser.add_argument(
        "--detections",
        metavar="FILE",
        help="score these instead of detecting anew: detections.json of an earlier run, a COCO "
        "results list, or a folder with VOC's comp4_det_*.txt",
    )
    parser.add_argument(
        "--submission",
        metavar="FOLDER",
        help="write the files that the benchmark of the data takes: comp4_det_SET_CLASS.txt, or a "
        "COCO results list",
    )


def run(args: argparse.Namespace) -> int:
    """Detect on data.val as the stored config says, or its overrides; print the table."""
    from rfcn.assessment import assess, detections_file, rescore, write_submission
    from rfcn.build import build_dataset, find_device, listed_classes, with_proposals
    from rfcn.cli.report import report
    from rfcn.config.loader import override_config
    from rfcn.engine.weights import check_classes
    from rfcn.inference.detector import Detector

    detector = Detector.from_pretrained(args.weights)
    config = override_config(detector.config, args.overrides)
    if config.data.classes != detector.config.data.classes:
        check_classes(listed_classes(config.data) or (), detector.class_names)
    device = find_device(args.device or config.runtime.device)
    pictures = build_dataset(config.data, config.data.val, class_names=detector.class_names)
    dataset = with_proposals(config, pictures, "val")
    for note in dataset.notes:
        print(f"note: {note}")
    if args.detections:
        saved = Path(args.detections)
        result, output = rescore(dataset, config, saved), saved.parent
    else:
        output = Path(args.output or f"runs/eval_{_run_of(Path(args.weights))}")
        saved = detections_file(output)
        model = detector.with_config(config).model.to(device)
        result = assess(model, dataset, config, device=device, output=output)
    if args.submission:
        files = write_submission(dataset, config, saved, Path(args.submission))
        print(f"submission: {len(files)} files in {args.submission}")
    return report(result, config, output)


def _run_of(weights: Path) -> str:
    """The name of the run in whose folder the weights lie."""
    path = weights.resolve()
    folder = path if path.is_dir() else path.parent
    return folder.parent.parent.name or folder.name
