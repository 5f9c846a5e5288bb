"""`rfcn eval`: measure a trained detector."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.main import STOPPED
from rfcn.cli.options import (
    add_device_option,
    add_output_option,
    add_override_option,
    count_or_zero,
    output_folder,
)
from rfcn.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from rfcn.config.schema import Config
    from rfcn.datasets.sample import Dataset
    from rfcn.evaluation.proposal_recall import ProposalRecall
    from rfcn.evaluation.result import Result
    from rfcn.inference.detector import Detector


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
        "results list, or a folder with VOC's comp4_det_*.txt; with -o, analyse them there",
    )
    parser.add_argument(
        "--submission",
        metavar="FOLDER",
        type=output_folder,
        help="write the files that the benchmark of the data takes: comp4_det_SET_CLASS.txt, or a "
        "COCO results list",
    )
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write the analysis and report.html (default: eval.report)",
    )
    parser.add_argument(
        "--proposals",
        metavar="N",
        nargs="?",
        type=count_or_zero,
        const=2000,
        help="measure, too, what up to N proposals a picture cover (default: 2000)",
    )


def run(args: argparse.Namespace) -> int:
    """Detect on data.val as the stored config says, or its overrides; print the table."""
    from rfcn.assessment import detections_file, rescore, write_submission
    from rfcn.build import build_dataset, find_device, listed_classes, with_proposals
    from rfcn.cli.report import report
    from rfcn.config.loader import override_config
    from rfcn.engine.distributed import first_process, own_device
    from rfcn.engine.weights import check_classes
    from rfcn.evaluation.analysis import summarise
    from rfcn.inference.detector import Detector
    from rfcn.review import forget_review, review

    detector = Detector.from_pretrained(args.weights)
    config = override_config(detector.config, args.overrides)
    if config.data.classes != detector.config.data.classes:
        check_classes(listed_classes(config.data) or (), detector.class_names)
    device = own_device(find_device(args.device or config.runtime.device))
    pictures = build_dataset(config.data, config.data.val, class_names=detector.class_names)
    dataset = with_proposals(config, pictures, "val")
    for note in dataset.notes if first_process() else ():
        print(f"note: {note}")
    recall = None
    if args.proposals and first_process():
        recall = _recall(detector, config, pictures, args.proposals, device)
    output = Path(args.output or f"runs/eval_{_run_of(Path(args.weights))}")
    if args.detections:
        file = Path(args.detections)
        result = rescore(dataset, config, file)
    else:
        file = detections_file(output)
        found = _detect(detector, dataset, config, device, output)
        if isinstance(found, int):
            return found
        result = found
    if args.submission:
        files = write_submission(dataset, config, file, Path(args.submission))
        print(f"submission: {len(files)} files in {args.submission}")
    if args.detections and not (args.output or args.report or recall):
        return report(result, config, file.parent)
    if config.eval.report if args.report is None else args.report:
        weights = Path(args.weights)
        analysis = review(
            dataset, config, file, output, result=result, weights=weights, proposals=recall
        )
        print(summarise(analysis))
    else:
        forget_review(output)
    return report(result, config, output)


def _detect(
    detector: "Detector", dataset: "Dataset", config: "Config", device: "torch.device", output: Path
) -> "Result | int":
    """Detect on all pictures, shared with the other processes where torchrun started several. The
    exit code instead, in those that do not speak (0) and when stopped by a signal (128 + it)."""
    from rfcn.assessment import assess
    from rfcn.engine.distributed import join_world
    from rfcn.engine.signals import Stopped, stop_on_signals

    model = detector.with_config(config).model.to(device)
    with stop_on_signals() as stop, join_world(device, timeout=config.runtime.timeout) as world:
        try:
            result = assess(
                model,
                dataset,
                config,
                device=device,
                output=output,
                after_picture=stop.check,
                world=world,
            )
        except Stopped:
            if world.leads:
                print("stopped; the figures are of all pictures or none: give the command again")
            return stop.exit_code or STOPPED
    return 0 if result is None else result


def _recall(
    detector: "Detector",
    config: "Config",
    pictures: "Dataset",
    count: int,
    device: "torch.device",
) -> "ProposalRecall":
    """What up to `count` proposals a picture cover."""
    from rfcn.build import with_proposals
    from rfcn.config.loader import override_config
    from rfcn.review import measure_proposals

    if not hasattr(config.model.proposer, "test_proposals"):
        raise ConfigError("--proposals: a detector of one stage has no proposals to measure.")
    many = override_config(config, [f"model.proposer.test_proposals={count}"])
    dataset = with_proposals(many, pictures, "val")
    return measure_proposals(detector.with_config(many).model.to(device), dataset, many, most=count)


def _run_of(weights: Path) -> str:
    """The name of the run in whose folder the weights lie."""
    path = weights.resolve()
    folder = path if path.is_dir() else path.parent
    return folder.parent.parent.name or folder.name
