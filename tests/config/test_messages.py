"""Faults in words."""

import pytest
from pydantic import ValidationError

from rfcn.config.messages import MOST_FAULTS, dotted, explain, found
from rfcn.config.nodes import Node, Origin, node_from_plain, parse_yaml
from rfcn.config.schema import Config


def explained(text: str) -> list[str]:
    node = parse_yaml(text, "a.yaml")
    assert node is not None
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(node.plain())
    return explain(caught.value, node).splitlines()


def test_a_line_a_fault_in_the_order_of_the_schema() -> None:
    assert explained("train:\n  lr: x\ndata:\n  flip: 1\n") == [
        "a.yaml:4: data.flip: found the number 1, expected true or false.",
        "a.yaml:2: train.lr: found the text 'x', expected a number above 0.",
    ]


def test_one_fault_of_a_union_not_one_for_each_member() -> None:
    assert len(explained("data: {classes: [a, 5]}")) == 1
    assert len(explained("data: {classes: 5}")) == 1


def test_many_faults_are_counted() -> None:
    lines = explained("{" + ", ".join(f"wrong{n}: 1" for n in range(MOST_FAULTS + 3)) + "}")
    assert len(lines) == MOST_FAULTS + 1
    assert lines[-1] == "... and 3 more."


def test_a_union_without_its_type() -> None:
    (line,) = explained("model: {type: two_stage, backbone: {depth: 50}}")
    assert "model.backbone" in line
    assert "model.backbone.type: missing, expected one of 'resnet', 'tiny', 'vgg16'" in line


def test_dotted_keys() -> None:
    assert dotted(("train", "lr_steps", 1)) == "train.lr_steps[1]"
    assert dotted(("a",)) == "a"
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        ("four", "the text 'four'"),
        (1.5, "the number 1.5"),
        ([1, 2], "a list of 2"),
        ({}, "a mapping"),
        ("x" * 100, "the text 'xxxxxxxxxx"),
    ],
)
def test_values_in_words(value: object, words: str) -> None:
    said = found(node_from_plain(value, Origin("a")))
    assert said.startswith(words)
    assert len(said) < 75


def test_nodes_outside_the_tree_fall_back_to_their_parent() -> None:
    """A key that pydantic misses has no node; the fault is then placed at its section."""
    node = Node({}, Origin("a.yaml", 7))
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"train": {"lr": "x"}})
    assert explain(caught.value, node).startswith("a.yaml:7")
