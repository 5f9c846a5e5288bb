"""A detector measured on a data set: figures, files and pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from rfcn.build import AnyDetector, build_evaluator, build_test_loader, build_tester
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset
from rfcn.evaluation.detections_file import load_detections, save_detections
from rfcn.evaluation.evaluator import evaluate
from rfcn.evaluation.report import write_report
from rfcn.evaluation.result import Result
from rfcn.structures import Detections
from rfcn.visualization.draw import draw_comparison
from rfcn.visualization.files import write_image

SHOWN_SCORE = 0.5
"""Detections below it are not drawn."""


def assess(
    model: AnyDetector,
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    output: Path,
    after_picture: Callable[[], None] | None = None,
) -> Result:
    """Detect on every picture of a data set, score what was found and write it down.

    output/eval gets detections.json, metrics.json, per_class.csv and pr_curves.png;
    output/pictures/detections gets pictures of what was found over what is true.
    `after_picture` is called after each picture; what it raises ends the assessment.
    """
    evaluator = build_evaluator(config.eval, dataset)
    loader = build_test_loader(config, dataset)
    tester = build_tester(model, config.model)
    evaluate(tester, loader, evaluator, device=device, after_batch=after_picture)
    result = evaluator.compute()
    save_detections(evaluator.detections, dataset.class_names, detections_file(output))
    write_report(result, output / "eval")
    folder = output / "pictures" / "detections"
    draw_detections(dataset, evaluator.detections, folder, count=config.runtime.pictures)
    return result


def rescore(dataset: Dataset, config: Config, path: Path) -> Result:
    """The figures of saved detections, without a detector.

    Raises:
        DataError: the file is missing or broken, or not of this data set.
    """
    evaluator = build_evaluator(config.eval, dataset)
    found = load_detections(path, dataset.class_names)
    evaluator.update(list(found), list(found.values()))
    return evaluator.compute()


def detections_file(output: Path) -> Path:
    """Where `assess` keeps what was found."""
    return output / "eval" / "detections.json"


def shown_pictures(dataset: Dataset, count: int) -> list[int]:
    """Numbers of at most `count` pictures, spread over the data set."""
    step = max(1, len(dataset) // max(count, 1))
    return list(range(0, len(dataset), step))[:count]


def draw_detections(
    dataset: Dataset, detections: Mapping[str, Detections], folder: Path, *, count: int
) -> None:
    """Draw what was found over what is true, on pictures spread over the data set."""
    for index in shown_pictures(dataset, count):
        sample = dataset[index]
        found = detections[sample.id].above(SHOWN_SCORE)
        picture = draw_comparison(sample.image, sample.target, found, dataset.class_names)
        write_image(folder / f"{sample.id.replace('/', '_')}.jpg", picture)
