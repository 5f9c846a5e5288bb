"""Which parts fit together, and what is said where they do not."""

import pytest

from rfcn.config import schema
from rfcn.config.loader import config_from_mapping
from rfcn.errors import ConfigError


def refused(**model) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"model": model})
    return str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("resnet", "rfcn"), ("vgg16", "rfcn"), ("tiny", "rfcn"),
        ("resnet", "light_head"), ("vgg16", "light_head"), ("tiny", "light_head"),
        ("resnet", "naive_frcnn"), ("vgg16", "naive_frcnn"), ("tiny", "naive_frcnn"),
        ("resnet", "c4_frcnn"), ("tiny", "c4_frcnn"), ("vgg16", "fc_frcnn"),
    ],
)  # fmt: skip
def test_what_fits(backbone: str, head: str) -> None:
    model = {"backbone": {"type": backbone}, "roi_head": {"type": head}}
    config = config_from_mapping({"model": model})
    assert isinstance(config.model, schema.Model)
    assert config.model.roi_head.type == head


@pytest.mark.parametrize(
    ("backbone", "head"), [("vgg16", "c4_frcnn"), ("resnet", "fc_frcnn"), ("tiny", "fc_frcnn")]
)
def test_a_last_stage_that_is_not_there(backbone: str, head: str) -> None:
    message = refused(backbone={"type": backbone}, roi_head={"type": head})
    assert f"roi_head {head} runs the last stage" in message
    assert f"this backbone is a {backbone}" in message


@pytest.mark.parametrize("head", ["rfcn", "naive_frcnn"])
@pytest.mark.parametrize("features", ["conv4", "conv5_stride_32", "conv5_deformable"])
def test_features_that_vgg_has_not(head: str, features: str) -> None:
    message = refused(backbone={"type": "vgg16"}, roi_head={"type": head, "features": features})
    assert f"cannot read {features}" in message
    message = refused(type="class_rpn", backbone={"type": "vgg16"}, proposer={"features": features})
    assert f"cannot read {features}" in message


def test_a_detector_of_one_stage_has_no_keys_of_a_second() -> None:
    message = refused(type="class_rpn", roi_head={"type": "rfcn"})
    assert "model.roi_head: unknown key" in message
    assert "of type 'two_stage'" in message


@pytest.mark.parametrize("kind", ["two_stage", "class_rpn"])
def test_thresholds_of_anchors_must_not_cross(kind: str) -> None:
    message = refused(type=kind, proposer={"positive_iou": 0.2, "negative_iou": 0.3})
    assert "negative_iou must not exceed positive_iou" in message


GIVEN = {"train": ["a.npz"], "val": ["b.npz"], "corners": "x1y1x2y2", "pixels": "half_open"}


def test_given_proposals_come_with_their_files() -> None:
    model = {"proposer": {"type": "given"}}
    config = config_from_mapping({"model": model, "data": {"proposals": GIVEN}})
    assert config.data.proposals is not None
    with pytest.raises(ConfigError, match=r"data\.proposals must name the files; model is a map"):
        config_from_mapping({"model": model})
    with pytest.raises(ConfigError, match=r"read by model\.proposer\.type: given only"):
        config_from_mapping({"data": {"proposals": GIVEN}})


@pytest.mark.parametrize("key", GIVEN)
def test_nothing_of_a_file_of_proposals_is_guessed(key: str) -> None:
    rest = {name: value for name, value in GIVEN.items() if name != key}
    with pytest.raises(ConfigError, match=rf"data\.proposals\.{key}: missing, expected ") as caught:
        config_from_mapping({"model": {"proposer": {"type": "given"}}, "data": {"proposals": rest}})
    assert "mapping" not in str(caught.value).partition("expected")[2]


def test_aligned_bins_have_one_form() -> None:
    message = refused(roi_head={"type": "rfcn", "pooler": "psroi_align", "form": "features"})
    assert "form features is there for the psroi_pool poolers only" in message


@pytest.mark.parametrize(
    ("head", "fits"), [("c4_frcnn", True), ("naive_frcnn", True), ("rfcn", False)]
)
def test_maxout_is_there_for_heads_with_layers_to_read_it(head: str, fits: bool) -> None:
    model = {"roi_head": {"type": head}, "test_time": {"assignment": "adjacent"}}
    if fits:
        config_from_mapping({"model": model})
    else:
        assert "test_time.assignment adjacent" in refused(**model)


@pytest.mark.parametrize("weights", ["imagenet", "IMAGENET1K_V2"])
def test_weights_of_one_style_are_not_put_into_the_other(weights: str) -> None:
    message = refused(backbone={"type": "resnet", "style": "caffe", "weights": weights})
    assert f"weights {weights} are of style torchvision" in message
    assert "rfcn import-weights" in message
