"""The check: read the sets of a config, look at every picture, compare, report."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tqdm import tqdm

from rfcn.build import build_dataset
from rfcn.config import schema
from rfcn.config.parts import AnchorHead
from rfcn.datasets.findings import Findings
from rfcn.datasets.listed import ListedPictures
from rfcn.datasets.survey import survey
from rfcn.datasets.survey_objects import Objects, gather
from rfcn.inspection.anchors import Anchors, Resized, better_anchors, resized, share
from rfcn.inspection.cases import (
    Part,
    class_cases,
    object_cases,
    picture_cases,
    reader_cases,
    twin_cases,
)
from rfcn.inspection.kinds import kinds_of
from rfcn.inspection.report import AnchorReport, Report
from rfcn.parts.backbones import build_backbone

WORTH_SAYING = 0.05
"""Share of the boxes that other anchors must reach in addition, to be suggested."""
MORE_SCALES = (0, 2)
"""Scales that a suggestion has more than the config."""


def check_data(
    config: schema.Config,
    *,
    parts: Sequence[str] = ("train", "val"),
    workers: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """The report on the data of a config.

    parts: which of `data.train` and `data.val`; workers: see `rfcn.datasets.survey`; stopped: is
    asked after each picture, and ends the look at pictures with what is known by then.
    """
    stride = build_backbone_stride(config)
    read: list[Part] = []
    for name in parts:
        # A training set of which nothing could be read does not say what the classes are.
        train = read[0].dataset if read else None
        names = train.class_names if train is not None and train.class_names else None
        read.append(_read(config.data, name, names))
    report = Report(config.data.root, config.data.format, kinds_of(config.data), read)
    report.complete = _look(read, workers, stopped)
    short_side = middle_side(config.data)
    for part in read:
        report.cases += part.cases
        if part.dataset is not None:
            report.cases += picture_cases(
                part,
                short_side=short_side,
                max_long_side=config.data.max_long_side,
                stride=stride,
            )
            report.cases += object_cases(part)
    report.cases += [*class_cases(read), *twin_cases(read)]
    train_part = next((part for part in read if part.name == "train"), None)
    proposer = config.model.proposer
    if (
        train_part is not None
        and train_part.objects is not None
        and isinstance(proposer, AnchorHead)
    ):
        report.anchors = _anchor_report(config.data, proposer, stride, train_part.objects)
    return report


def middle_side(data: schema.Data) -> int:
    """The short side at which boxes are compared with anchors: the middle of those trained at."""
    return sorted(data.train_short_sides)[len(data.train_short_sides) // 2]


def build_backbone_stride(config: schema.Config) -> int:
    """Pixels a cell of the map on which anchors are scored. No weights are made or looked for."""
    with torch.device("meta"):
        backbone, _ = build_backbone(config.model.backbone, pretrained=False)
    return backbone.roi_stride if config.model.type == "class_rpn" else backbone.stride


def _read(data: schema.Data, name: str, class_names: Sequence[str] | None) -> Part:
    """A part with what its files say, all faults collected."""
    findings = Findings(tolerant=True)
    sets = getattr(data, name)
    dataset: ListedPictures | None = None
    with findings.survived(object=sets):
        dataset = build_dataset(data, sets, class_names=class_names, findings=findings)
    cases = reader_cases(
        findings.found,
        name,
        dataset.paths if dataset else (),
        one_based=data.format == "voc",
    )
    return Part(
        name, sets, dataset, None if dataset is None else gather(dataset), cases=list(cases)
    )


def _look(parts: Sequence[Part], workers: int, stopped: Callable[[], bool]) -> bool:
    """Look at the pictures of all parts, those of train first; whether it came to the end."""
    paths = [path for part in parts if part.dataset for path in part.dataset.paths]
    owners = (part for part in parts if part.dataset for _ in part.dataset.paths)
    rules = next((part.dataset.files for part in parts if part.dataset), None)
    looks = survey(paths, workers=workers, rules=rules)
    bar = tqdm(total=len(paths), desc="Looking at pictures", leave=False, disable=None)
    try:
        for part, look in zip(owners, looks, strict=True):
            part.looks.append(look)
            bar.update()
            if stopped():
                break
    finally:
        looks.close()  # type: ignore[attr-defined]
        bar.close()
    return sum(len(part.looks) for part in parts) == len(paths)


def _anchor_report(
    data: schema.Data, proposer: AnchorHead, stride: int, objects: Objects
) -> AnchorReport | None:
    """How anchors cover what is trained on; None where there is nothing."""
    rows = np.flatnonzero(~objects.difficult | data.use_difficult)
    if not len(rows):
        return None
    sizes = objects.sizes
    trained = Objects(
        objects.picture[rows], objects.boxes[rows], objects.labels[rows],
        objects.difficult[rows], sizes,
    )  # fmt: skip
    section = proposer.anchors
    anchors = Anchors(section.base_size, section.scales, section.ratios, stride)
    short_side = middle_side(data)
    these = resized(trained, short_side=short_side, max_long_side=data.max_long_side)
    overlaps = anchors.overlaps(these)
    return AnchorReport(
        anchors=anchors,
        short_side=short_side,
        max_long_side=data.max_long_side,
        positive_iou=proposer.positive_iou,
        these=these,
        rows=rows,
        labels=trained.labels,
        overlaps=overlaps,
        better=_suggestions(these, anchors, overlaps, proposer.positive_iou),
    )


def _suggestions(
    these: Resized, now: Anchors, overlaps: np.ndarray, enough: float
) -> list[tuple[Anchors, np.ndarray]]:
    """Anchors that reach clearly more boxes, as many as now and with more scales, and what each
    box reaches with them."""
    found = []
    reached = share(overlaps, enough) or 0
    for more in MORE_SCALES:
        better = better_anchors(these, now, scales=len(now.scales) + more, enough=enough)
        with_it = better.overlaps(these)
        if (share(with_it, enough) or 0) >= reached + WORTH_SAYING:
            reached = share(with_it, enough) or 0
            found.append((better, with_it))
    return found
