"""The votes behind a detection."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rfcn.config import schema
from rfcn.config.loader import override_config
from rfcn.datasets.image import read_image
from rfcn.errors import ConfigError
from rfcn.inference.detector import Detector
from rfcn.inference.explain import explain, explain_detection, has_score_maps
from rfcn.visualization.explanation import SHIFTS, shifted


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


def test_a_detection_that_is_not_there(detector: Detector, image) -> None:
    count = len(detector.predict([image])[0])
    for index in (count, -1):
        with pytest.raises(IndexError, match=f"detection {index} of a picture with {count}"):
            explain(detector, image, index)


def test_a_head_without_score_maps(trained_run, image) -> None:
    detector = Detector.from_pretrained(trained_run.weights)
    detector.predictor.roi_head = torch.nn.Identity()
    with pytest.raises(ConfigError, match="no position-sensitive score maps"):
        explain(detector, image, 0)


def test_several_looks_have_no_one_explanation(detector: Detector, image) -> None:
    config = override_config(detector.config, ["model.test_time.flip=true"])
    several = detector.with_config(config)
    assert has_score_maps(detector)
    assert not has_score_maps(several)
    with pytest.raises(ConfigError, match="more than once"):
        explain(several, image, 0)


# ------------------------------------------------------------------- every number of an explanation


@pytest.fixture
def made(tiny_model: schema.Model, tiny_detector: Callable[..., Any]) -> Callable[..., Detector]:
    """Makes an untrained detector whose votes differ much: `made(k=7, pooler="psroi_align")`."""

    def make(classes: int = 3, **head: Any) -> Detector:
        roi_head = schema.RFCN(reduction=16, **head)
        postprocess = schema.PostProcess(score_threshold=0.0)
        model = tiny_detector(classes=classes, roi_head=roi_head, postprocess=postprocess)
        with torch.no_grad():
            model.roi_head.score_maps.weight.mul_(3000)
        config = schema.Config(
            model=tiny_model.model_copy(update={"roi_head": roi_head, "postprocess": postprocess}),
            data=schema.Data(test_short_side=64, train_short_sides=(64,), max_long_side=96),
        )
        names = [f"class{number}" for number in range(1, classes + 1)]
        return Detector(model, class_names=names, config=config)

    return make


@pytest.mark.parametrize("pooler", ["psroi_pool", "psroi_align"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_votes_of_every_class_average_to_the_models_logits(
    made: Callable[..., Detector], photo: np.ndarray, k: int, pooler: str
) -> None:
    detector = made(k=k, pooler=pooler)
    found = detector.predict(photo)
    model = detector.model
    with torch.inference_mode():  # the road of prediction, all proposals
        batch = detector.batch([photo])
        features = model.features(batch)
        boxes, _ = model.proposer(batch, features)
        logits = model.roi_head(features.roi, model.rois(boxes)).class_logits
    for index in (0, 1, len(found) // 2, len(found) - 1):
        explanation = explain_detection(detector, photo, index)
        row = int(found.rois[index])
        assert explanation.hit.votes.shape == (4, k, k)
        own = logits[row].double()
        assert own.abs().max() > 0.1
        torch.testing.assert_close(explanation.hit.logits, own, atol=1e-5, rtol=0)
        assert explanation.class_names[0] == "background"
        assert explanation.label == int(found.labels[index])
        assert explanation.score == pytest.approx(float(found.scores[index]), abs=1e-5)
        torch.testing.assert_close(explanation.hit.roi, boxes[0][row])


def test_votes_are_means_of_the_maps_that_are_shown(
    made: Callable[..., Detector], photo: np.ndarray
) -> None:
    detector = made(k=3)
    explanation = explain_detection(detector, photo, 0)
    rows = detector.model.rois([explanation.hit.roi[None]])
    pooled = detector.model.roi_head.pooler(explanation.maps[None].double(), rows.double())
    torch.testing.assert_close(pooled[0], explanation.hit.votes.double(), atol=1e-5, rtol=0)


def test_every_place_of_the_roi_is_scored_as_the_head_scores_it(
    made: Callable[..., Detector], photo: np.ndarray
) -> None:
    detector = made(k=3)
    explanation = explain_detection(detector, photo, 0)
    assert [one.shift for one in explanation.placements] == list(SHIFTS)
    assert explanation.placements[0].shift == (0.0, 0.0)
    rois = shifted(explanation.hit.roi)
    with torch.inference_mode():
        features = detector.model.features(detector.batch([photo]))
        logits = detector.model.roi_head(features.roi, detector.model.rois([rois])).class_logits
    for one, roi, row in zip(explanation.placements, rois, logits, strict=True):
        torch.testing.assert_close(one.roi, roi)
        torch.testing.assert_close(one.logits, row.double(), atol=1e-5, rtol=0)
    sides = explanation.hit.roi[2:] - explanation.hit.roi[:2]
    moved = (explanation.miss.roi - explanation.hit.roi)[:2]
    torch.testing.assert_close(moved, sides * torch.tensor(explanation.miss.shift))


def test_the_box_is_that_of_the_detection_at_the_networks_size(
    made: Callable[..., Detector], photo: np.ndarray
) -> None:
    detector = made(k=3)
    explanation = explain_detection(detector, photo, 0)
    assert explanation.image.shape == (64, 85, 3)  # of 48 x 64
    box = detector.predict(photo).boxes[0] * torch.tensor([85 / 64, 64 / 48, 85 / 64, 64 / 48])
    torch.testing.assert_close(explanation.box, box, atol=1e-3, rtol=0)


def test_the_detections_of_one_class_are_counted(
    made: Callable[..., Detector], photo: np.ndarray
) -> None:
    detector = made(k=3)
    found = detector.predict(photo)
    for name in set(found.names):
        places = [number for number, one in enumerate(found.names) if one == name]
        assert explain_detection(detector, photo, 0, class_name=name).index == places[0]
        assert (
            explain_detection(detector, photo, len(places) - 1, class_name=name).index
            == (places[-1])
        )
        with pytest.raises(IndexError, match=f"of class '{name}' of a picture with {len(places)}"):
            explain_detection(detector, photo, len(places), class_name=name)
    with pytest.raises(ConfigError, match=r"no class 'clas1'. Did you mean 'class1'\?"):
        explain_detection(detector, photo, 0, class_name="clas1")


def test_one_class_has_background_beside_it(
    made: Callable[..., Detector], photo: np.ndarray
) -> None:
    explanation = explain_detection(made(classes=1, k=3), photo, 0)
    assert explanation.runner_up == 0
    assert explanation.hit.votes.shape == (2, 3, 3)
