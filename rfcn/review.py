"""What stands behind the figures of an evaluation: the analysis, its files and its page."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from rfcn.boxes import rescale
from rfcn.build import AnyDetector, build_naming, build_skipped, build_test_loader
from rfcn.config.loader import dump_config
from rfcn.config.schema import Config
from rfcn.datasets.proposals import WithProposals
from rfcn.datasets.sample import Dataset
from rfcn.engine.environment import describe_environment
from rfcn.errors import DataError
from rfcn.evaluation.analysis import Analysis, analyse, write_tables
from rfcn.evaluation.figures import draw_figures
from rfcn.evaluation.page import Shot, render_page
from rfcn.evaluation.proposal_recall import ProposalRecall, proposal_recall
from rfcn.evaluation.result import Result
from rfcn.evaluation.scored import gather
from rfcn.evaluation.submission import load_any
from rfcn.evaluation.worst import describe_picture, picture_costs
from rfcn.models.detector import TwoStageDetector
from rfcn.structures import Detections, Pyramid, Target
from rfcn.visualization.draw import Picture, draw_comparison

THUMBNAIL = 480
"""Pixels: larger pictures of the gallery are shrunk to this side, so that the page stays small."""
JPEG_QUALITY = 80
PAGE = "report.html"


def review(
    dataset: Dataset,
    config: Config,
    detections: Path,
    output: Path,
    *,
    result: Result | None = None,
    weights: Path | None = None,
    proposals: ProposalRecall | None = None,
) -> Analysis:
    """Analyse saved detections and write output/eval: analysis.json, its tables as CSV, its
    figures as PNG and report.html, which holds it all.

    detections: the file that `assess` left. result: what the metric
    says of them. weights: what found them. Both are named in the page.
    """
    truths = {name: dataset.target(index) for index, name in enumerate(dataset.ids)}
    found = load_any(detections, build_naming(dataset))
    analysis = analyse(
        gather(truths, found, dataset.class_names),
        np.array(dataset.sizes, dtype=np.int64).reshape(-1, 2),
        iou_threshold=config.eval.iou_thresholds[0],
        proposals=proposals,
    )
    folder = output / "eval"
    write_tables(analysis, folder)
    figures = {path.stem: path for path in draw_figures(analysis, folder)}
    curves = detections.parent / "pr_curves.png"
    if curves.exists():
        figures["pr_curves"] = curves
    page = render_page(
        analysis,
        title=f"{config.data.val} of {config.data.root}",
        about=_about(config, weights, detections),
        config=dump_config(config),
        figures=figures,
        metric={} if result is None else result.figures(),
        gallery=_gallery(dataset, analysis, truths, found, config.runtime.pictures),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    return analysis


def forget_review(output: Path) -> None:
    """Remove the page and the analysis of an earlier evaluation of the same folder, where the new
    one is not reviewed: they would be taken for its own."""
    for name in (PAGE, "analysis.json"):
        (output / "eval" / name).unlink(missing_ok=True)


def measure_proposals(
    model: AnyDetector, dataset: Dataset, config: Config, *, most: int
) -> ProposalRecall:
    """What the first proposals of a detector of two stages cover, up to `most` of those that its
    config lets it make at test; with several test sizes, those of the first. Proposals of files are
    taken as they stand.
    """
    assert isinstance(model, TwoStageDetector)
    if isinstance(dataset, WithProposals):
        boxes = [dataset.proposals(index).numpy() for index in range(len(dataset))]
    else:
        skipped = build_skipped(config.data, dataset, print, said="no proposals on")
        made = _propose(model.eval(), build_test_loader(config, dataset, skipped=skipped))
        none = np.zeros((0, 4), dtype=np.float32)  # where a picture could not be read
        boxes = [made.get(name, none) for name in dataset.ids]
    truths = {name: dataset.target(index) for index, name in enumerate(dataset.ids)}
    asked = gather(truths, {}, dataset.class_names).truths
    return proposal_recall(boxes, asked, most=most)


@torch.inference_mode()
def _propose(model: TwoStageDetector, loader: Iterable[Pyramid]) -> dict[str, np.ndarray]:
    """The proposals of each picture by its id, in its original pixels."""
    device = next(model.parameters()).device
    boxes: dict[str, np.ndarray] = {}
    for pyramid in tqdm(loader, "proposing", disable=None, leave=False):
        batch = pyramid.levels[0].to(device)
        proposed, _ = model.proposer(batch, model.features(batch))
        sizes = zip(proposed, batch.sizes, batch.original_sizes, strict=True)
        boxes |= {
            name: rescale(*one).cpu().numpy() for name, one in zip(batch.ids, sizes, strict=True)
        }
    return boxes


def _about(config: Config, weights: Path | None, detections: Path) -> dict[str, str]:
    """What identifies the evaluation."""
    about = {"data": f"{config.data.val} of {config.data.root}", "detections": str(detections)}
    if weights is not None:
        file = weights / "model.safetensors" if weights.is_dir() else weights
        about["weights"] = str(weights)
        if file.is_file():
            with file.open("rb") as content:
                about["sha256"] = hashlib.file_digest(content, "sha256").hexdigest()
    made = describe_environment(device="cpu", ops_backend="")
    known = {**made["packages"], "commit": made["commit"]}
    about["written by"] = ", ".join(
        f"{name} {known[name]}" for name in ("rfcn", "torch", "commit") if known.get(name)
    )
    about["written"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return about


def _gallery(
    dataset: Dataset,
    analysis: Analysis,
    truths: Mapping[str, Target],
    found: Mapping[str, Detections],
    count: int,
) -> Sequence[Shot]:
    """The pictures whose errors cost most, drawn."""
    costs = picture_costs(analysis.scored, analysis.verdicts)
    order = np.argsort(-costs, kind="stable")[:count].tolist()
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    shots = []
    for index in order:
        name = dataset.ids[index]
        if costs[index] <= 0:
            break
        try:
            image = dataset[index].image
        except DataError:
            if name in found:
                raise
            continue  # it could not be read, and the run has said so
        believed = found.get(name, nothing).above(analysis.score_threshold)
        picture = _thumbnail(image, truths[name], believed, dataset.class_names)
        caption = describe_picture(
            analysis.scored, analysis.verdicts, analysis.errors, index, analysis.score_threshold
        )
        shots.append(Shot(name, caption, float(costs[index]), _jpeg(picture)))
    return shots


def _thumbnail(
    image: Picture, target: Target, found: Detections, class_names: Sequence[str]
) -> Picture:
    """What was found over what is true, on a picture made small first."""
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    there = Target(rescale(target.boxes, (height, width), size), target.labels, target.difficult)
    seen = Detections(rescale(found.boxes, (height, width), size), found.scores, found.labels)
    return draw_comparison(np.asarray(small, dtype=np.uint8), there, seen, class_names)


def _jpeg(picture: Picture) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
