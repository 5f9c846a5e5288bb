"""A detector measured on a data set: figures, files and pictures."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from rfcn.build import (
    AnyDetector,
    build_evaluator,
    build_naming,
    build_skipped,
    build_test_loader,
    build_tester,
)
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset, coco_annotations
from rfcn.engine.distributed import World
from rfcn.engine.signals import Stopped
from rfcn.evaluation.collector import Collector
from rfcn.evaluation.detections_file import save_detections
from rfcn.evaluation.evaluator import evaluate
from rfcn.evaluation.report import write_report
from rfcn.evaluation.result import Result
from rfcn.evaluation.submission import load_any, save_coco_results, save_voc_results
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
    say: Callable[[str], object] = print,
    world: World | None = None,
) -> Result | None:
    """Detect on every picture of a data set, score what was found and write it down.

    output/eval gets detections.json, metrics.json, per_class.csv and pr_curves.png, of COCO's data
    predictions.json too, the list that COCO's own code and server take;
    output/pictures/detections gets pictures of what was found over what is true.
    `after_picture` is called after each picture; what it raises ends the assessment, and when that
    is `Stopped`, what was found until then is in output/eval/detections_partial.json. `say` is told
    of pictures that cannot be read, where `data.on_bad_image` allows some: nothing is found there.
    Several processes share the pictures; the one that leads scores all, the others get nothing.
    """
    world = World() if world is None else world
    evaluator = build_evaluator(config.eval, dataset)
    skipped = build_skipped(config.data, dataset, say, said="not detected on")
    loader = build_test_loader(
        config, dataset, skipped=skipped, rank=world.rank, processes=world.size
    )
    tester = build_tester(model, config.model)
    stopped = False
    try:
        evaluate(tester, loader, evaluator, device=device, after_batch=after_picture)
    except Stopped:
        stopped = True
    stopped = bool(world.most(int(stopped)))  # all of them leave together
    _bring_together(evaluator, dataset, world)
    partial = partial_file(output)
    if stopped:
        if world.leads and evaluator.detections:
            save_detections(evaluator.detections, dataset.class_names, partial)
            say(f"{len(evaluator.detections)} of {len(dataset)} pictures are in {partial}")
        raise Stopped
    if not world.leads:
        return None
    partial.unlink(missing_ok=True)
    result = evaluator.compute()
    if summary := skipped.summary():
        say(f"{summary} They count as pictures in which nothing was found.")
    save_detections(evaluator.detections, dataset.class_names, detections_file(output))
    if coco_annotations(dataset) is not None:
        results = detections_file(output).with_name("predictions.json")
        save_coco_results(evaluator.detections, build_naming(dataset), results)
    write_report(result, output / "eval")
    folder = output / "pictures" / "detections"
    draw_detections(dataset, evaluator.detections, folder, count=config.runtime.pictures)
    return result


def _bring_together(evaluator: Collector, dataset: Dataset, world: World) -> None:
    """Give the evaluator of the process that leads what all have found, in the data set's order."""
    if world.size == 1:
        return
    found: dict[str, Detections] = {}
    for of_one in world.gather(dict(evaluator.detections)):
        found |= of_one
    evaluator.reset()
    names = [name for name in dataset.ids if name in found]
    evaluator.update(names, [found[name] for name in names])


def rescore(dataset: Dataset, config: Config, path: Path) -> Result:
    """The figures of saved detections, without a detector: of detections.json, of a COCO results
    list, or of a folder with VOC's comp4_det_*.txt.

    Raises:
        DataError: the file is missing or broken, or not of this data set.
    """
    evaluator = build_evaluator(config.eval, dataset)
    found = load_any(path, build_naming(dataset))
    evaluator.update(list(found), list(found.values()))
    return evaluator.compute()


def detections_file(output: Path) -> Path:
    """Where `assess` keeps what was found."""
    return output / "eval" / "detections.json"


def partial_file(output: Path) -> Path:
    """Where `assess` keeps what was found when it is stopped on the way."""
    return output / "eval" / "detections_partial.json"


def write_submission(
    dataset: Dataset, config: Config, detections: Path, folder: Path
) -> list[Path]:
    """Write saved detections in the form that the benchmark of the data takes; -> the files.

    COCO: detections_SET_rfcn_results.json; anything else: VOC's comp4_det_SET_CLASS.txt.
    """
    naming = build_naming(dataset)
    found = load_any(detections, naming)
    set_name = re.sub(r"[^\w.-]+", "_", re.sub(r"voc_\d+_", "", config.data.val)).strip("_")
    if coco_annotations(dataset) is not None:
        path = folder / f"detections_{set_name}_rfcn_results.json"
        return [save_coco_results(found, naming, path)]
    return save_voc_results(found, naming, folder, set_name=set_name)


def shown_pictures(dataset: Dataset, count: int) -> list[int]:
    """Numbers of at most `count` pictures, spread over the data set."""
    step = max(1, len(dataset) // max(count, 1))
    return list(range(0, len(dataset), step))[:count]


def draw_detections(
    dataset: Dataset, detections: Mapping[str, Detections], folder: Path, *, count: int
) -> None:
    """Draw what was found over what is true, on pictures spread over the data set."""
    for index in shown_pictures(dataset, count):
        if dataset.ids[index] not in detections:
            continue  # it could not be read
        sample = dataset[index]
        found = detections[sample.id].above(SHOWN_SCORE)
        picture = draw_comparison(sample.image, sample.target, found, dataset.class_names)
        write_image(folder / f"{sample.id.replace('/', '_')}.jpg", picture)
