"""One tree laid on another."""

import pytest

from rfcn.config.merge import merge, parse_overrides
from rfcn.config.nodes import Node, Origin, node_from_plain
from rfcn.errors import ConfigError


def tree(value: object, source: str = "under") -> Node:
    return node_from_plain(value, Origin(source))


def merged(under: object, over: object) -> object:
    return merge(tree(under), tree(over, "over")).plain()


def test_mappings_merge_and_everything_else_is_replaced() -> None:
    under = {"a": {"x": 1, "y": [1, 2]}, "b": 2}
    assert merged(under, {"a": {"y": [3]}, "c": 4}) == {"a": {"x": 1, "y": (3,)}, "b": 2, "c": 4}
    assert merged(under, {"a": None}) == {"a": None, "b": 2}
    assert merged({"a": 1}, {"a": {"x": 1}}) == {"a": {"x": 1}}


def test_another_type_replaces_the_whole_mapping() -> None:
    under = {"head": {"type": "rfcn", "k": 7}}
    assert merged(under, {"head": {"type": "other", "c": 1}}) == {"head": {"type": "other", "c": 1}}
    assert merged(under, {"head": {"type": "rfcn", "c": 1}}) == {
        "head": {"type": "rfcn", "k": 7, "c": 1}
    }
    assert merged(under, {"head": {"c": 1}}) == {"head": {"type": "rfcn", "k": 7, "c": 1}}


def test_merging_changes_neither_tree_and_keeps_origins() -> None:
    under, over = tree({"a": {"x": 1, "y": 1}}), tree({"a": {"y": 2}}, "over")
    both = merge(under, over)
    assert under.plain() == {"a": {"x": 1, "y": 1}}
    section = both.value["a"].value  # type: ignore[index, call-overload]
    assert {key: str(node.origin) for key, node in section.items()} == {"x": "under", "y": "over"}


def test_overrides_read_as_yaml_and_the_later_wins() -> None:
    node = parse_overrides(["a.b=1e-3", "a.c=[1, x]", "d=", "a.b=2", "e=k=v", "f=cuda:0"])
    assert node is not None
    assert node.plain() == {"a": {"b": 2, "c": (1, "x")}, "d": None, "e": "k=v", "f": "cuda:0"}


def test_overrides_of_a_part_may_come_in_any_order() -> None:
    first = parse_overrides(["m.type=tiny", "m.width=8"])
    second = parse_overrides(["m.width=8", "m.type=tiny"])
    assert first is not None
    assert second is not None
    assert first.plain() == second.plain() == {"m": {"type": "tiny", "width": 8}}


def test_no_overrides_are_nothing() -> None:
    assert parse_overrides([]) is None


# C17
@pytest.mark.parametrize("word", ["train.lr", "=1", "train.=1", ".lr=1", "a..b=1", ""])
def test_c17_words_that_are_no_overrides(word: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value") as caught:
        parse_overrides([word])
    assert f"command line: {word}" in str(caught.value)


# C17
def test_c17_a_value_that_is_no_yaml() -> None:
    with pytest.raises(ConfigError, match=r"command line: a=\[1: not YAML"):
        parse_overrides(["a=[1"])
