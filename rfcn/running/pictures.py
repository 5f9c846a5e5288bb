"""The pictures that a run draws: what it learns from, how its losses fell, why it detects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rfcn.assessment import SHOWN_SCORE, shown_pictures
from rfcn.build import build_train_loader
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset
from rfcn.datasets.skipped import SkippedPictures
from rfcn.errors import DataError
from rfcn.inference.detector import Detector
from rfcn.inference.explain import explain, has_score_maps
from rfcn.visualization.files import write_image
from rfcn.visualization.montage import draw_training_batch
from rfcn.visualization.plots import plot_losses
from rfcn.visualization.score_maps import draw_score_maps

SCORE_MAP_PICTURES = 3
"""Detections whose score maps a finished run draws."""


def draw_targets(
    config: Config, dataset: Dataset, output: Path, skipped: SkippedPictures
) -> np.ndarray | None:
    """Draw what the network is about to be shown, boxes and all: where most faults are seen.

    `runtime.pictures` of them, in output/pictures/targets.jpg; returns the sheet [H, W, 3] uint8,
    None where that is 0.
    """
    count = config.runtime.pictures
    if count == 0:
        return None
    loader = replace(
        build_train_loader(config, dataset, skipped=skipped), batch_size=count, workers=0, pieces=1
    )
    with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed when it begins
        batch, targets = next(iter(loader))
    picture = draw_training_batch(batch, targets, dataset.class_names)
    write_image(output / "pictures" / "targets.jpg", picture)
    return picture


def draw_summary(detector: Detector, dataset: Dataset, output: Path) -> None:
    """Draw the losses over time, and the score maps behind a few detections."""
    pictures = output / "pictures"
    write_image(pictures / "losses.png", plot_losses(output / "metrics.jsonl"))
    if has_score_maps(detector):
        draw_votes(detector, dataset, pictures / "score_maps", count=SCORE_MAP_PICTURES)


def draw_votes(detector: Detector, dataset: Dataset, folder: Path, *, count: int) -> None:
    """Draw the score maps of the surest detection on pictures spread over a data set."""
    for index in shown_pictures(dataset, count):
        try:
            sample = dataset[index]
        except DataError:
            if detector.config.data.on_bad_image == "stop":
                raise
            continue  # the evaluation has named it
        given = None if sample.proposals is None else [sample.proposals]
        found = detector.predict([sample.image], given)[0].above(SHOWN_SCORE)
        if len(found):
            views = explain(detector, sample.image, 0, sample.proposals)
            write_image(folder / f"{sample.id.replace('/', '_')}.png", draw_score_maps(views))
