"""What the schema accepts. Every leaf is tried with values of a wrong kind (C3, C12 to C16)."""

from typing import Any, get_args

import pytest

from rfcn.config import schema
from rfcn.config.catalogue import Catalogue
from rfcn.config.loader import config_from_mapping
from rfcn.config.published import leaves
from rfcn.config.schema import Config
from rfcn.errors import ConfigError

OTHER_PARTS: tuple[dict[str, Any], ...] = (
    {},
    {"model": {"backbone": {"type": "tiny"}, "roi_loss": {"type": "sampled"}}},
    {"model": {"backbone": {"type": "vgg16"}, "roi_head": {"type": "naive_frcnn"}}},
    {"model": {"type": "class_rpn", "backbone": {"type": "resnet"}}},
    {"model": {"roi_head": {"type": "light_head"}}},
    {"model": {"roi_head": {"type": "deformable_rfcn"}}},
    {"model": {"postprocess": {"suppression": {"type": "soft_nms"}, "box_voting": {}}}},
    {"train": {"scheme": {"type": "alternating"}}},
    {
        "model": {"proposer": {"type": "given"}},
        "data": {
            "proposals": {
                "train": ["a.mat"],
                "val": ["b.mat"],
                "corners": "xywh",
                "pixels": "one_based",
            }
        },
    },
)
SECTION_OR_NULL = ("data.proposals", "model.postprocess.box_voting")
LEAVES = {
    key: (parts, value)
    for parts in OTHER_PARTS
    for key, value in leaves(config_from_mapping(parts).model_dump())
    if key not in SECTION_OR_NULL
}


def of_numbers(value: object) -> bool:
    """Whether a leaf is a list of numbers."""
    return isinstance(value, tuple) and {type(one) for one in value} <= {int, float} != set()


def nested(key: str, value: object, parts: dict[str, Any]) -> dict[str, Any]:
    """`parts` with one value written at a dotted key."""
    head, _, rest = key.partition(".")
    inner = parts.get(head, {})
    return {**parts, head: nested(rest, value, inner) if rest else value}


def fault(key: str, value: object, parts: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_mapping(nested(key, value, parts or {}))
    return str(caught.value)


# C3
def test_c3_the_parts_above_hold_every_leaf_there_is() -> None:
    catalogue = Catalogue()
    keys = {key for name in catalogue.names() for key, _ in catalogue.places(name)}
    sections = {key.rpartition(".")[0] for key in keys}
    assert keys - sections == set(LEAVES)


MAY_BE_TEXT = ("data.classes", "train.start_from")


# C3
@pytest.mark.parametrize("key", LEAVES)
def test_c3_no_leaf_takes_a_mapping_or_a_nested_list(key: str) -> None:
    parts, _ = LEAVES[key]
    for wrong in ({"a": 1}, [[1]]):
        message = fault(key, wrong, parts)
        assert key in message
        assert "expected" in message


# C3
@pytest.mark.parametrize("key", LEAVES)
def test_c3_no_leaf_takes_another_kind_of_scalar(key: str) -> None:
    parts, value = LEAVES[key]
    wrong = 5 if isinstance(value, str) or key in MAY_BE_TEXT else "four"
    message = fault(key, wrong, parts)
    assert f"{key}: found " in message
    assert "'four'" in message or "5" in message


# C15
@pytest.mark.parametrize(
    "key", [key for key, (_, value) in LEAVES.items() if type(value) in (int, float)]
)
def test_c15_no_number_takes_nan_inf_or_a_boolean(key: str) -> None:
    parts, _ = LEAVES[key]
    for wrong in (float("nan"), float("inf"), -float("inf"), True):
        assert f"{key}: found " in fault(key, wrong, parts)


# C15
@pytest.mark.parametrize("key", [key for key, (_, value) in LEAVES.items() if of_numbers(value)])
def test_c15_nor_does_a_number_in_a_list(key: str) -> None:
    parts, value = LEAVES[key]
    for wrong in (float("nan"), float("inf"), True):
        assert f"{key}[0]: found " in fault(key, [wrong, *value[1:]], parts)


# C12
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("train.lr", -1e-3, "a number above 0"),
        ("train.lr", 0, "a number above 0"),
        ("train.batch_size", 0, "an integer of at least 1"),
        ("train.iterations", 0, "an integer of at least 1"),
        ("train.momentum", 1.5, "a number from 0 to 1"),
        ("train.lr_gamma", 0, "a number above 0"),
        ("model.postprocess.nms_threshold", 1.5, "a number from 0 to 1"),
        ("model.postprocess.score_threshold", -1, "a number from 0 to 1"),
        ("model.roi_head.k", 0, "an integer of at least 1"),
        ("model.proposer.anchors.scales", [], "a list of numbers above 0, at least one"),
        ("model.proposer.anchors.ratios", [1, -1], "a number above 0"),
        ("model.box_std", [0.1, 0.1, 0.2], "a list of 4 numbers above 0"),
        ("model.pixel_mean", [1, 2, 3, 4], "a list of 3 numbers"),
        ("model.backbone.depth", 51, "one of 18, 34, 50, 101, 152"),
        ("model.backbone.depth", 50.0, "one of 18, 34, 50, 101, 152"),
        ("model.backbone.frozen_stages", True, "one of 0, 1, 2, 3, 4"),
        ("model.roi_head.box_sets", "agnostc", "Did you mean 'agnostic'?"),
        ("model.backbone.type", "resnt", "Did you mean 'resnet'?"),
        ("data.train_short_sides", [600, 0], "an integer of at least 1"),
        ("data.format", "kitti", "one of 'voc', 'coco'"),
        ("data.flip", "yes", "true or false"),
        ("data.workers", 1.0, "an integer of at least 0"),
        ("eval.iou_thresholds", [], "a list of numbers above 0 and up to 1, at least one"),
        ("eval.floor", 70, "a number from 0 to 1 or null"),
        ("runtime.seed", -1, "an integer of at least 0"),
    ],
)
def test_c12_out_of_range_says_what_is_allowed(key: str, value: object, allowed: str) -> None:
    message = fault(key, value)
    assert key in message
    assert allowed in message


# C13
@pytest.mark.parametrize(
    ("section", "values", "keys"),
    [
        (
            "model.proposer",
            {"positive_iou": 0.3, "negative_iou": 0.5},
            ["positive_iou", "negative_iou"],
        ),
        (
            "model.roi_loss",
            {"type": "sampled", "foreground_iou": 0.3, "background_iou": 0.5},
            ["foreground_iou", "background_iou"],
        ),
        ("train", {"iterations": 100}, ["lr_steps", "iterations"]),
        ("train", {"iterations": 500, "lr_steps": []}, ["warmup_iterations", "iterations"]),
        ("data", {"max_long_side": 500}, ["max_long_side", "600"]),
        ("data", {"train_short_sides": [600, 1200]}, ["max_long_side", "1200"]),
    ],
)
def test_c13_contradictions_name_both_sides(
    section: str, values: dict[str, Any], keys: list[str]
) -> None:
    message = fault(section, values)
    assert all(key in message for key in [section, *keys])


@pytest.mark.parametrize("sets", [None, "", "  "])
def test_no_set_to_evaluate_on_says_how_to_share_one(sets: str | None) -> None:
    assert "as train: NAME[:80%] and val: NAME[80%:]" in fault("data.val", sets)


# C14
@pytest.mark.parametrize("steps", [[200, 100], [100, 100], [100, 200, 150]])
def test_c14_steps_increase(steps: list[int]) -> None:
    assert "lr_steps must increase" in fault("train.lr_steps", steps)


# C16
@pytest.mark.parametrize(
    ("classes", "part"),
    [
        ([], "is empty"),
        (["a", "a"], "'a' more than once"),
        (["a", "background"], "'background'"),
        (["a", False], "data.classes[1]: found false"),
        (["a", None], "put it in quotes"),
        ([5], "put it in quotes"),
        (5, "put it in quotes"),
    ],
)
def test_c16_class_lists(classes: object, part: str) -> None:
    assert part in fault("data.classes", classes)


def test_whole_numbers_do_where_numbers_are_meant() -> None:
    config = config_from_mapping({"train": {"lr": 1}, "model": {"box_loss_weight": 2}})
    assert (config.train.lr, config.model.box_loss_weight) == (1.0, 2.0)


def test_every_setting_is_documented() -> None:
    sections = [value for value in vars(schema).values() if _is_section(value)]
    undocumented = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, field in section.model_fields.items()
        if not field.description and not _is_section(field.annotation) and name != "type"
        if not any(_is_section(member) for member in get_args(field.annotation))
    ]
    assert len(sections) > 10
    assert undocumented == []


def _is_section(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, schema.Section)


def test_the_defaults_are_the_papers() -> None:
    """arXiv 1605.06409, section 3, and table 3 for B; numbers typed here anew."""
    config = Config()
    assert (config.model.roi_head.k, config.model.roi_head.reduction) == (7, 1024)
    assert config.model.proposer.train_proposals == config.model.proposer.test_proposals == 300
    assert isinstance(config.model.roi_loss, schema.OHEM)
    assert config.model.roi_loss.keep == 128
    assert (config.train.lr, config.train.momentum, config.train.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (config.train.iterations, config.train.lr_steps) == (30_000, (20_000,))
    assert config.train.batch_size == config.train.schedule_batch_size == 8
    assert (config.data.test_short_side, config.model.postprocess.nms_threshold) == (600, 0.3)
