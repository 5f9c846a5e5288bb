"""What each stage of a training is given."""

import pytest

from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config, Train
from rfcn.errors import ConfigError

FOUR = ("train.scheme.type=alternating", "train.scheme.stages=4")


def train(*overrides: str) -> Train:
    return config_from_mapping({}, overrides).train


def test_rpn_and_head_learn_together_unless_told_otherwise() -> None:
    config = Config()
    assert config.train.scheme.type == "joint"
    assert config.train.stages() == [config.train]


def test_a_stage_has_what_train_says_where_its_list_is_left_out() -> None:
    stages = train(*FOUR, "train.lr=0.5", "train.scheme.lr_steps=[[1], [2, 3], [], [4]]").stages()
    assert [stage.lr for stage in stages] == [0.5] * 4
    assert [stage.lr_steps for stage in stages] == [(1,), (2, 3), (), (4,)]
    assert {stage.iterations for stage in stages} == {Train().iterations}
    five = train(FOUR[0], "train.scheme.stages=5", "train.scheme.lr=[1, 2, 3, 4, 5]").stages()
    assert [stage.lr for stage in five] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.scheme.lr=[1, 2, 3]", "train.scheme.lr: expected one entry for each of the 4"),
        ("train.scheme.iterations=[1]", "train.scheme.iterations: expected one entry for each"),
        ("train.scheme.stages=3", "train.scheme.stages: found the number 3, expected one of 4, 5"),
        ("train.scheme.stages=4.0", "train.scheme.stages: found the number 4.0, expected one"),
        (
            "train.scheme.iterations=[30000, 30000, 20000, 30000]",
            "lr_steps must stay below iterations (stage 3)",
        ),
        ("train.scheme.lr_steps=[[], [2, 1], [], []]", "lr_steps must increase (stage 2)"),
        ("runtime.compile=true", "runtime.compile translates a backbone as a whole"),
        ("model.proposer.type=given", "the model's proposer is given"),
    ],
)
def test_what_cannot_be_is_said(word: str, message: str) -> None:
    files = ("data.proposals={train: [a], val: [b], corners: xywh, pixels: one_based}",)
    words = [*FOUR, word, *(files if "given" in word else ())]
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({}, words)
    assert message in str(caught.value)


def test_one_stage_detectors_have_nothing_to_alternate() -> None:
    with pytest.raises(ConfigError, match="the model's proposer is class_rpn"):
        config_from_mapping({"model": {"type": "class_rpn"}}, FOUR)
