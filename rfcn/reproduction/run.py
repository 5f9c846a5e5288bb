"""Runs the rows of a table, one after another, each in a folder of its own; goes on where it
stopped."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rfcn.build import build_dataset
from rfcn.config.loader import load_config, override_config
from rfcn.config.paths import expand_path
from rfcn.config.schema import OHEM, Config, GivenProposals, Sampled
from rfcn.datasets.shapes import make_shapes
from rfcn.engine.atomic import make_folder, write_atomically
from rfcn.engine.checkpoint import checkpoints
from rfcn.experiment import run_experiment
from rfcn.inference.detector import Detector
from rfcn.inference.proposing import search_dataset
from rfcn.reproduction.tables import Row, Scale, Table

TIMED_PICTURES = 10
"""Pictures of the validation set whose detection is timed, after one that is not."""


@dataclass(frozen=True)
class Outcome:
    """What one run of one row gave."""

    row: str
    seed: int
    mean_ap: dict[str, float | None]
    """Mean AP by IoU threshold, 0..1: VOC's by area, COCO's by 101 recalls."""
    images: int
    """Pictures seen in training, each as often as it was seen."""
    train_seconds: float
    """A picture and step, median over the run's log lines."""
    test_seconds: float
    """A picture, resizing included, median."""
    commit: str | None


def row_config(
    row: Row,
    table: Table,
    scale: str,
    *,
    seed: int,
    data: str | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """The config of a row of a table at one of its scales."""
    chosen = table.scales[scale]
    words = [*row.settings.get(scale, ()), f"runtime.seed={seed}"]
    if data is not None:
        words.append(f"data.root={json.dumps(data)}")
    config = load_config(row.config, [*words, *overrides], over=row.over.get(scale, chosen.over))
    return with_fewer_rois(config, chosen.fewer_rois)


def with_fewer_rois(config: Config, divisor: int) -> Config:
    """The config with its counts of proposals and of kept RoIs divided."""
    if divisor == 1:
        return config
    model = config.model
    counts = {
        "model.proposer.train_proposals": getattr(model.proposer, "train_proposals", None),
        "model.proposer.test_proposals": getattr(model.proposer, "test_proposals", None),
    }
    roi_loss = getattr(model, "roi_loss", None)  # a detector of one stage has none
    if isinstance(roi_loss, OHEM):
        counts["model.roi_loss.keep"] = roi_loss.keep
    if isinstance(roi_loss, Sampled):
        counts["model.roi_loss.rois"] = roi_loss.rois
    words = [f"{key}={max(1, n // divisor)}" for key, n in counts.items() if n is not None]
    return override_config(config, words)


def run_row(
    row: Row, config: Config, folder: Path, *, say: Callable[[str], None] = print
) -> Outcome | int | None:
    """Train and measure one row; at once if that was done. The number of a signal that ended it;
    nothing in one of several processes (torchrun) that does not lead."""
    done = folder / "outcome.json"
    if done.is_file():
        say(f"{row.name}, seed {config.runtime.seed}: done before")
        return Outcome(**json.loads(done.read_text(encoding="utf-8")))
    say(f"{row.name}, seed {config.runtime.seed}: {row.title}")
    resume = bool(checkpoints(folder / "checkpoints"))
    result = run_experiment(config, folder, resume=resume, overwrite=not resume)
    if result is None or isinstance(result, int):
        return result
    outcome = Outcome(
        row=row.name,
        seed=config.runtime.seed,
        mean_ap={f"{one:g}": result.mean_ap(one) for one in result.iou_thresholds},
        images=_images_seen(folder),
        train_seconds=_train_seconds(folder, config.train.batch_size),
        test_seconds=_test_seconds(folder, config),
        commit=json.loads((folder / "environment.json").read_text(encoding="utf-8")).get("commit"),
    )
    text = json.dumps(asdict(outcome), indent=1) + "\n"
    write_atomically(done, lambda file: file.write(text.encode()))
    return outcome


def read_outcomes(table: Table, folder: Path) -> list[Outcome]:
    """What earlier commands measured of a table, in its order; of all rows, asked for or not."""
    files = [file for row in table.rows for file in folder.glob(f"{row.name}/seed*/outcome.json")]
    return sorted(
        (Outcome(**json.loads(file.read_text(encoding="utf-8"))) for file in files), key=_seed
    )


def _seed(outcome: Outcome) -> int:
    return outcome.seed


def prepare_data(config: Config, scale: Scale) -> None:
    """Draw the generated set where a scale runs on it, search for proposals where it makes its own.

    Raises:
        MachineError: this OpenCV cannot search.
    """
    if scale.generated is not None:
        make_shapes(expand_path(config.data.root, key="data.root"), kind=scale.generated)
    if scale.searched and config.data.proposals is not None:
        _search(config)


def _search(config: Config) -> None:
    """Make the files that `data.proposals` names, unless they are there."""
    data, proposer = config.data, config.model.proposer
    assert data.proposals is not None
    assert isinstance(proposer, GivenProposals)
    train_set = build_dataset(data, data.train)
    val_set = build_dataset(data, data.val, class_names=train_set.class_names)
    most = max(proposer.train_proposals, proposer.test_proposals)
    for dataset, files in ((train_set, data.proposals.train), (val_set, data.proposals.val)):
        path = expand_path(files[0], key="data.proposals")
        make_folder(path.parent)
        search_dataset(dataset, path, most=most)


def _log_lines(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "time/step" in line]


def _images_seen(folder: Path) -> int:
    return int(_log_lines(folder)[-1]["images"])


def _train_seconds(folder: Path, batch_size: int) -> float:
    return statistics.median(line["time/step"] for line in _log_lines(folder)) / batch_size


def _test_seconds(folder: Path, config: Config) -> float:
    """Seconds a picture of the detector as it is used, one picture at a time."""
    detector = Detector.from_pretrained(folder / "weights" / "last")
    pictures = build_dataset(config.data, config.data.val, class_names=detector.class_names)
    taken = []
    for index in range(min(len(pictures), TIMED_PICTURES + 1)):
        image = pictures[index].image
        start = time.perf_counter()
        detector.predict([image])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:] or taken)
