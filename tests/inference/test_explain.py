"""The votes behind a detection."""

import pytest
import torch

from rfcn.config.loader import override_config
from rfcn.datasets.image import read_image
from rfcn.errors import ConfigError
from rfcn.inference.detector import Detector
from rfcn.inference.explain import _moved_off, explain, has_score_maps


@pytest.fixture(scope="module")
def detector(trained_run) -> Detector:
    return Detector.from_pretrained(trained_run.weights)


@pytest.fixture(scope="module")
def image(trained_run):
    return read_image(trained_run.pictures[0])


@pytest.mark.parametrize("index", [0, 1, 5])
def test_the_mean_of_the_votes_is_the_logit_of_the_detections_score(
    detector: Detector, image, index: int
) -> None:
    found = detector.predict([image])[0]
    label, score = int(found.labels[index]), float(found.scores[index])
    hit, _ = explain(detector, image, index)
    assert hit.score == pytest.approx(score, abs=1e-5)
    assert hit.class_name == detector.class_names[label - 1]
    # the same logits by the road of prediction: the head on that one RoI
    with torch.inference_mode():
        model = detector.model
        features = model.features(detector.batch([image]))
        logits = model.roi_head(features.roi, model.rois([hit.roi[None]])).class_logits[0]
    assert float(hit.votes.mean()) == pytest.approx(float(logits[label]), abs=1e-5)
    assert float(logits.softmax(0)[label]) == pytest.approx(score, abs=1e-5)


def test_what_is_shown_fits_together(detector: Detector, image) -> None:
    views = explain(detector, image, 0)
    batch = detector.batch([image])
    height, width = batch.sizes[0]
    for view in views:
        assert view.image.shape == (height, width, 3)
        assert view.stride == 8
        assert view.votes.shape == (3, 3)
        assert view.maps.shape == (3, 3, -(-height // 8), -(-width // 8))
        assert view.class_name in view.title
    assert (views[0].image == batch.tensor[0].permute(1, 2, 0).numpy()).all()
    torch.testing.assert_close(views[0].maps, views[1].maps)


def test_the_roi_moved_off_sees_something_else(detector: Detector, image) -> None:
    hit, miss = explain(detector, image, 0)
    sides = hit.roi[2:] - hit.roi[:2]
    torch.testing.assert_close((miss.roi - hit.roi).abs(), (sides / 2).repeat(2))
    torch.testing.assert_close(miss.roi[2:] - miss.roi[:2], sides)
    assert not torch.allclose(hit.votes, miss.votes)
    assert hit.score != miss.score


@pytest.mark.parametrize(
    ("roi", "moved"),
    [
        ([20.0, 30, 40, 70], [10.0, 10, 30, 50]),  # room on both sides: to the upper left
        ([5.0, 30, 25, 70], [15.0, 10, 35, 50]),  # no room at the left
        ([20.0, 0, 40, 40], [10.0, 20, 30, 60]),  # none above
    ],
)
def test_where_it_moves(roi: list[float], moved: list[float]) -> None:
    assert _moved_off(torch.tensor(roi)).tolist() == moved


def test_a_detection_that_is_not_there(detector: Detector, image) -> None:
    count = len(detector.predict([image])[0])
    for index in (count, -1):
        with pytest.raises(IndexError, match=f"detection {index} of a picture with {count}"):
            explain(detector, image, index)


def test_a_head_without_score_maps(trained_run, image) -> None:
    detector = Detector.from_pretrained(trained_run.weights)
    detector.model.roi_head = torch.nn.Identity()
    with pytest.raises(ConfigError, match="no position-sensitive score maps"):
        explain(detector, image, 0)


def test_several_looks_have_no_one_explanation(detector: Detector, image) -> None:
    config = override_config(detector.config, ["model.test_time.flip=true"])
    several = detector.with_config(config)
    assert has_score_maps(detector)
    assert not has_score_maps(several)
    with pytest.raises(ConfigError, match="more than once"):
        explain(several, image, 0)
