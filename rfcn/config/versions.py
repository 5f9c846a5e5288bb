"""Configs written for other versions of the schema: migrated with a notice, or refused by name.

A file may say `version: 1` at its top; what the program writes does. Without it a file counts as
written for this version. Keys that are only added need no new version: they have defaults.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from rfcn.config.merge import merge
from rfcn.config.nodes import Node
from rfcn.errors import ConfigError

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the schema. It grows when a setting is removed, or means something else from then on."""
RENAMED: Mapping[str, str] = {}
"""Dotted keys of earlier versions, of settings or whole sections, and where they are now."""


def migrate(layer: Node) -> Node:
    """What somebody wrote, in the words of this version and without its `version`; each renamed key
    is logged as a warning.

    Raises:
        ConfigError: it was written for a later version, `version` is no such number, or a setting
            is there by both its names.
    """
    if not isinstance(layer.value, dict):
        return layer
    sections = dict(layer.value)
    _check(sections.pop("version", None))
    layer = replace(layer, value=sections)
    for old, new in RENAMED.items():
        found = _at(layer, old)
        if found is None:
            continue
        if (other := _at(layer, new)) is not None:
            raise ConfigError(
                f"{found.origin}: {old} is called {new} now, which is written too, at "
                f"{other.origin}. Delete one of them."
            )
        logger.warning("%s: %s is called %s now and was read as that.", found.origin, old, new)
        layer = merge(_without(layer, old.split(".")), _branch(found, new))
    return layer


def _check(version: Node | None) -> None:
    if version is None:
        return
    number = version.value
    if type(number) is not int or number < 1:
        raise ConfigError(f"{version.origin}: version: expected a whole number from 1 on.")
    if number > VERSION:
        raise ConfigError(
            f"{version.origin}: version: the config was written for version {number} of the "
            f"schema; this program reads up to {VERSION}. Update rfcn."
        )


def _at(node: Node, dotted: str) -> Node | None:
    """What is written at a dotted key."""
    for key in dotted.split("."):
        if not isinstance(node.value, dict) or key not in node.value:
            return None
        node = node.value[key]
    return node


def _without(node: Node, keys: list[str]) -> Node:
    """The tree without a key that is there, and without sections that held nothing else."""
    assert isinstance(node.value, dict)
    rest = {key: child for key, child in node.value.items() if key != keys[0]}
    if len(keys) > 1:
        below = _without(node.value[keys[0]], keys[1:])
        rest |= {keys[0]: below} if below.value else {}
    return replace(node, value=rest)


def _branch(node: Node, dotted: str) -> Node:
    """A tree that holds nothing but a value at a dotted key."""
    for key in reversed(dotted.split(".")):
        node = Node({key: node}, node.origin)
    return node
