"""Laying one config tree over another. Pure functions on `Node`s."""

from collections.abc import Sequence

from rfcn.config.nodes import Node, Origin, parse_yaml
from rfcn.errors import ConfigError


def merge(under: Node, over: Node) -> Node:
    """`over` laid on `under`: mappings key by key, everything else replaced whole.

    A mapping that changes `type` replaces the one below, so that nothing of another part leaks in.
    """
    if not isinstance(under.value, dict) or not isinstance(over.value, dict):
        return over
    if _changes_type(under.value, over.value):
        return over
    merged = dict(under.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, over.origin)


def _changes_type(under: dict[str, Node], over: dict[str, Node]) -> bool:
    if "type" not in under or "type" not in over:
        return False
    return under["type"].value != over["type"].value


def parse_overrides(overrides: Sequence[str]) -> Node | None:
    """`key=value` words of a command line as one tree, the later word winning; nothing for none.

    They are laid on a config together: `type=tiny` before or after `width=8` means the same.

    Raises:
        ConfigError: a word without `=` or without a key, or a value that is not YAML.
    """
    tree: Node | None = None
    for word in overrides:
        branch = _parse_override(word)
        tree = branch if tree is None else merge(tree, branch)
    return tree


def _parse_override(word: str) -> Node:
    origin = Origin(f"command line: {word}")
    key, equals, text = word.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"{origin}: expected key=value with a dotted key, for example --set train.lr=5e-4."
        )
    node = parse_yaml(text, origin.source, lines=False) or Node(None, origin)
    for name in reversed(keys):
        node = Node({name: node}, origin)
    return node
