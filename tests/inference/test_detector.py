"""A detector behind one call."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rfcn
from rfcn.build import build_detector
from rfcn.config import schema
from rfcn.config.loader import override_config
from rfcn.datasets.image import read_image
from rfcn.errors import ConfigError, WeightsError
from rfcn.inference.detector import Detector
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.structures import Detections

NAMES = ("cat", "dog", "red fox")


@pytest.fixture(scope="module")
def detector(trained_run) -> Detector:
    return Detector.from_pretrained(trained_run.weights)


@pytest.fixture(scope="module")
def images(trained_run) -> list[np.ndarray]:
    """Three pictures of the data set and a strip of one: two sizes at least, two of one size."""
    whole = [read_image(path) for path in trained_run.pictures[:2]]
    return [whole[0], np.ascontiguousarray(whole[0][:, ::-1]), whole[1][:100], whole[1]]


def assert_same(one: Detections, other: Detections, *, scores: float = 0, boxes: float = 0) -> None:
    assert one.labels.tolist() == other.labels.tolist()
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=scores)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=boxes)


def test_weights_are_whole_in_the_folder_and_in_the_file_alone(trained_run, images) -> None:
    found = [
        Detector.from_pretrained(path).predict(images[:1])[0]
        for path in (
            trained_run.weights,
            str(trained_run.weights),
            trained_run.weights / "model.safetensors",
        )
    ]
    assert len(found[0]) > 0
    for other in found[1:]:
        assert_same(found[0], other)


def test_it_knows_its_classes_and_config(detector: Detector, trained_run) -> None:
    assert len(detector.class_names) == 8
    assert list(detector.class_names) == sorted(detector.class_names)
    assert detector.config.data.root == str(trained_run.data)
    assert not detector.model.training


def test_the_same_weights_under_another_config(detector: Detector, images) -> None:
    def under(*overrides: str) -> Detector:
        return detector.with_config(override_config(detector.config, overrides))

    plain, few, soft, again = (
        one.predict(images[:1])[0]
        for one in (
            detector,
            under("model.postprocess.max_detections=2"),
            under("model.postprocess.suppression.type=soft_nms", "model.test_time.flip=true"),
            under("data.val=train"),
        )
    )
    assert torch.equal(few.scores, plain.scores[:2])
    assert len(soft) > len(plain)
    assert_same(again, plain)
    assert detector.config.model.postprocess.max_detections == 300  # untouched
    with pytest.raises(WeightsError, match="the weights do not fit the model"):
        under("model.roi_head.reduction=8")


def test_detections_are_sorted_and_inside_their_own_picture(detector: Detector, images) -> None:
    for image, found in zip(images, detector.predict(images), strict=True):
        height, width = image.shape[:2]
        assert len(found) > 0
        assert (found.boxes >= 0).all()
        assert (found.boxes <= torch.tensor([width, height, width, height])).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert (found.scores.diff() <= 0).all()
        assert set(found.labels.tolist()) <= set(range(1, 9))


def test_pictures_of_any_sizes_in_one_call_equal_one_by_one(detector: Detector, images) -> None:
    assert len({image.shape for image in images}) > 1
    together = detector.predict(images)
    for image, found in zip(images, together, strict=True):
        alone = detector.predict([image])[0]
        # a convolution of two pictures may sum in another order than one of a single picture
        assert_same(found, alone, scores=1e-5, boxes=1e-2)


def test_nothing_in_nothing_out(detector: Detector) -> None:
    assert detector.predict([]) == []


def test_a_stack_of_pictures_is_a_sequence_too(detector: Detector, images) -> None:
    stack = np.stack(images[:2])
    for one, other in zip(detector.predict(stack), detector.predict(images[:2]), strict=True):
        assert_same(one, other)


# I13
def test_i13_what_is_no_picture_is_named(detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"must be uint8, .*; not int16 \[20, 30, 3\]"):
        detector.predict([np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30, 3), np.int16)])
    with pytest.raises(ValueError, match=r"not uint8 \[1, 20, 30, 3\]"):
        detector.predict([np.zeros((1, 20, 30, 3), np.uint8)])


# I13
def test_i13_one_picture_in_anything_it_may_come_in(tiny: Detector, photo, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    expected = tiny.predict([photo])[0]
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    for given in (str(path), path, Image.open(path), photo, photo / 255, tensor, tensor / 255):
        found = tiny.predict(given)
        assert_same(found, expected)
        assert found.size == (48, 64)
        assert np.array_equal(found.image, photo)
    for several in ([path, photo, tensor], np.stack([photo] * 3), torch.stack([tensor] * 3)):
        assert len(tiny.predict(several)) == 3
    assert tiny.predict(path).path == path
    assert tiny.predict(np.zeros((0, 48, 64, 3), np.uint8)) == []


def test_score_and_classes(tiny: Detector, photo) -> None:
    everything = tiny.predict(photo)
    assert set(everything.names) == set(NAMES)
    assert len(everything) == len(everything.above(0.001))
    middle = float(everything.scores.median())
    sure = tiny.predict(photo, score=middle)
    assert_same(sure, everything.above(middle))
    assert (sure.shown_from, everything.shown_from) == (middle, 0.5)
    foxes = tiny.predict([photo], classes=["red fox"])[0]
    assert_same(foxes, everything.of("red fox"))
    with pytest.raises(ConfigError, match="no class 'fox'"):
        tiny.predict(photo, classes=["fox"])


def test_proposals_for_every_picture_or_for_none(tiny: Detector, photo) -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9]])
    assert_same(tiny.predict(photo, boxes), tiny.predict(photo))  # its RPN does not look at them
    with pytest.raises(ValueError, match="shorter"):
        tiny.predict([photo, photo], [boxes])


def test_a_stream_reads_when_its_turn_comes(tiny: Detector, photo) -> None:
    read = []
    pictures = (read.append(n) or photo[: 48 - n % 2] for n in range(100))
    stream = tiny.stream(pictures, batch_size=2)
    assert [next(stream).size for _ in range(3)] == [(48, 64), (47, 64), (48, 64)]
    assert len(read) < 20


def test_the_batch_size_changes_nothing(tiny: Detector, photo) -> None:
    pictures = [photo, photo[:40], photo[:, ::-1], photo[::-1], photo[:40]]
    alone = tiny.predict(pictures, batch_size=1)
    for size in (2, 3):
        for one, other in zip(tiny.predict(pictures, batch_size=size), alone, strict=True):
            assert_same(one, other, scores=1e-5, boxes=1e-2)


def test_it_is_at_hand_without_loading_torch_before() -> None:
    code = (
        "import sys, rfcn; assert 'torch' not in sys.modules; assert not hasattr(rfcn, 'Detektor')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert rfcn.Detector is Detector


# I8
def test_i8_tiny_and_slim_pictures(detector: Detector) -> None:
    images = [np.full(shape, 99, np.uint8) for shape in ((1, 1, 3), (1, 300, 3), (300, 2, 3))]
    for image, found in zip(images, detector.predict(images), strict=True):
        assert found.boxes.isfinite().all()
        assert (found.boxes[:, 2] <= image.shape[1]).all()


def test_w1_no_weights(tmp_path: Path, trained_run) -> None:
    with pytest.raises(WeightsError, match=r"absent holds no weights but is missing"):
        Detector.from_pretrained(tmp_path / "absent")
    with pytest.raises(WeightsError, match="RUN/weights/best"):
        Detector.from_pretrained(trained_run.output)


def test_folded_batch_norm_finds_the_same(tiny_model, photo) -> None:
    torch.manual_seed(0)
    backbone = schema.ResNetBackbone(depth=18, weights="none", frozen_stages=0)
    model = tiny_model.model_copy(update={"backbone": backbone})
    data = schema.Data(test_short_side=64, train_short_sides=(64,), max_long_side=96)
    config = schema.Config(model=model, data=data)
    detector = build_detector(model, ["a", "b"], pretrained=False)
    for module in detector.modules():
        if isinstance(module, FrozenBatchNorm):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    plain, fast = (
        Detector(detector, class_names=["a", "b"], config=config, fast=fast)
        for fast in (False, True)
    )
    expected, found = plain.predict(photo, score=0), fast.predict(photo, score=0)
    assert len(expected) > 3
    assert_same(found, expected, scores=1e-5, boxes=1e-3)
    inside = [m for m in fast.tester.modules() if isinstance(m, FrozenBatchNorm)]
    assert inside == []
    assert fast.model.state_dict().keys() == plain.model.state_dict().keys()
    assert fast.with_config(config).fast
