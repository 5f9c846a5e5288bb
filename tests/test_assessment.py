"""A detector measured on a data set."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rfcn.assessment import assess, detections_file, draw_detections, rescore, shown_pictures
from rfcn.build import build_dataset
from rfcn.config.schema import Config
from rfcn.datasets.image import read_image
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError
from rfcn.evaluation.detections_file import load_detections
from rfcn.inference.detector import Detector


@pytest.fixture(scope="module")
def detector(trained_run) -> Detector:
    return Detector.from_pretrained(trained_run.weights)


@pytest.fixture(scope="module")
def dataset(detector: Detector) -> VOCDataset:
    return build_dataset(detector.config.data, "val", class_names=detector.class_names)


def config_of(detector: Detector, **runtime: int) -> Config:
    changed = detector.config.runtime.model_copy(update=runtime)
    return detector.config.model_copy(update={"runtime": changed})


def test_figures_files_and_pictures(detector, dataset, trained_run, tmp_path: Path) -> None:
    seen: list[int] = []
    result = assess(
        detector.model,
        dataset,
        config_of(detector, pictures=3),
        device=torch.device("cpu"),
        output=tmp_path,
        after_picture=lambda: seen.append(1),
    )
    assert len(seen) == result.pictures == len(dataset) == 3
    assert not detector.model.training
    drawn = sorted(path.stem for path in (tmp_path / "pictures" / "detections").iterdir())
    assert drawn == sorted(dataset.ids)
    # the same as one by one through the other door
    saved = load_detections(detections_file(tmp_path), dataset.class_names)
    for index, name in enumerate(dataset.ids):
        found = detector.predict([dataset[index].image])[0]
        assert torch.equal(saved[name].boxes, found.boxes)
        assert torch.equal(saved[name].scores, found.scores)
        assert torch.equal(saved[name].labels, found.labels)
    assert rescore(dataset, detector.config, detections_file(tmp_path)).summary() == (
        result.summary()
    )


def test_what_the_callback_raises_ends_it_and_writes_nothing(detector, dataset, tmp_path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop() -> None:
        raise Enough

    with pytest.raises(Enough):
        assess(
            detector.model,
            dataset,
            detector.config,
            device=torch.device("cpu"),
            output=tmp_path,
            after_picture=stop,
        )
    assert list(tmp_path.iterdir()) == []


def test_rescoring_needs_the_file(detector, dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"eval/detections.json: cannot be read"):
        rescore(dataset, detector.config, detections_file(tmp_path))


@pytest.mark.parametrize(
    ("length", "count", "shown"),
    [(10, 3, [0, 3, 6]), (10, 10, list(range(10))), (2, 8, [0, 1]), (5, 0, []), (9, 1, [0])],
)
def test_shown_pictures_are_spread(length: int, count: int, shown: list[int]) -> None:
    assert shown_pictures(range(length), count) == shown  # type: ignore[arg-type]


def test_only_sure_detections_are_drawn(detector, dataset, tmp_path: Path) -> None:
    found = {name: detector.predict([dataset[n].image])[0] for n, name in enumerate(dataset.ids)}
    sure = {
        name: replace(one, scores=torch.full_like(one.scores, 0.9)) for name, one in found.items()
    }
    unsure = {
        name: replace(one, scores=torch.full_like(one.scores, 0.4)) for name, one in found.items()
    }
    nothing = {name: one.above(2.0) for name, one in found.items()}
    drawn = {}
    for kind, detections in (("sure", sure), ("unsure", unsure), ("nothing", nothing)):
        draw_detections(dataset, detections, tmp_path / kind, count=1)
        drawn[kind] = read_image(tmp_path / kind / f"{dataset.ids[0]}.jpg")
    assert (drawn["unsure"] == drawn["nothing"]).all()
    assert (drawn["sure"] != drawn["nothing"]).any()
