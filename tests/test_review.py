"""What stands behind the figures of a run: its files and its page."""

import json
import shutil
from pathlib import Path

import pytest

from rfcn.boxes import rescale
from rfcn.build import build_dataset
from rfcn.datasets.proposals import WithProposals
from rfcn.evaluation.detections_file import save_detections
from rfcn.inference.detector import Detector
from rfcn.review import forget_review, measure_proposals, review

FILES = {
    "analysis.json",
    "report.html",
    *("confusion.csv", "errors.csv", "slices.csv", "thresholds.csv"),
    *("confusion.png", "errors.png", "calibration.png"),
}


@pytest.fixture(scope="module")
def detector(trained_run) -> Detector:
    return Detector.from_pretrained(trained_run.weights)


@pytest.fixture(scope="module")
def dataset(detector: Detector):
    return build_dataset(detector.config.data, "val", class_names=detector.class_names)


def test_a_review_leaves_its_files(trained_run, detector, dataset, tmp_path: Path) -> None:
    file = trained_run.output / "eval" / "detections.json"
    analysis = review(dataset, detector.config, file, tmp_path, weights=trained_run.weights)
    assert {path.name for path in (tmp_path / "eval").iterdir()} == FILES
    metrics = json.loads((trained_run.output / "eval" / "metrics.json").read_text())
    assert analysis.intervals.mean.value == pytest.approx(metrics["mean"]["AP@0.5"], abs=1e-12)
    page = (tmp_path / "eval" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2  # runtime.pictures
    assert "sha256" in page
    assert str(trained_run.weights) in page
    assert "test_short_side: 112" in page


def test_pictures_larger_than_a_thumbnail_are_made_small(
    trained_run, detector, dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = trained_run.output / "eval" / "detections.json"
    monkeypatch.setattr("rfcn.review._jpeg", lambda picture: seen.append(picture.shape) or b"")
    for side in (480, 60):
        seen: list[tuple[int, ...]] = []
        monkeypatch.setattr("rfcn.review.THUMBNAIL", side)
        review(dataset, detector.config, file, tmp_path)
        assert len(seen) == 2
        # small pictures are drawn enlarged, by whole factors up to about 480
        assert all(320 <= max(shape) <= 720 for shape in seen)


def test_a_run_without_pictures_has_no_gallery(detector, dataset, tmp_path: Path) -> None:
    nothing = {name: detector.predict([dataset[0].image])[0].above(2) for name in dataset.ids}
    save_detections(nothing, dataset.class_names, tmp_path / "d.json")
    runtime = detector.config.runtime.model_copy(update={"pictures": 0})
    config = detector.config.model_copy(update={"runtime": runtime})
    analysis = review(dataset, config, tmp_path / "d.json", tmp_path)
    assert analysis.intervals.mean.value == 0
    assert "costliest pictures" not in (tmp_path / "eval" / "report.html").read_text()


def test_an_old_review_is_forgotten(trained_run, tmp_path: Path) -> None:
    shutil.copytree(trained_run.output / "eval", tmp_path / "eval")
    forget_review(tmp_path)
    left = {path.name for path in (tmp_path / "eval").iterdir()}
    assert not left & {"analysis.json", "report.html"}
    assert "metrics.json" in left
    forget_review(tmp_path / "absent")


def test_the_proposals_of_an_rpn(detector, dataset) -> None:
    recall = measure_proposals(detector.model, dataset, detector.config, most=30)
    assert recall.counts == (1, 2, 5, 10, 20, 30)
    assert 0 < recall.proposals <= 30
    assert recall.truths == sum(
        int((~dataset.target(n).difficult).sum()) for n in range(len(dataset))
    )


def test_proposals_are_brought_back_into_the_pixels_of_the_pictures(
    detector, dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def knowing(batch, features, targets=None):
        (name,), sizes = batch.ids, (batch.original_sizes[0], batch.sizes[0])
        assert sizes[0] != sizes[1]
        return [rescale(dataset.target(dataset.ids.index(name)).boxes, *sizes)], {}

    monkeypatch.setattr(detector.model.proposer, "forward", knowing)
    recall = measure_proposals(detector.model, dataset, detector.config, most=30)
    assert recall.recall[-1].tolist() == [1] * 10


def test_proposals_of_files_are_taken_as_they_stand(detector, dataset) -> None:
    truths = [dataset.target(index).boxes.numpy() for index in range(len(dataset))]
    given = WithProposals(dataset, truths)
    recall = measure_proposals(detector.model, given, detector.config, most=50)
    assert recall.recall[-1].tolist() == [1] * 10
