"""From pydantic's list of faults to sentences: where, which key, what was found, what is meant."""

import difflib
import re
from functools import cache

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rfcn.config.catalogue import Catalogue, Schema, describe
from rfcn.config.nodes import Node

Keys = tuple[str | int, ...]

MOST_FAULTS = 5
"""More faults than this are counted, not listed."""


def explain(error: ValidationError, tree: Node) -> str:
    """One paragraph, a line a fault, for a tree that the schema refused."""
    faults: dict[Keys, ErrorDetails] = {}
    for fault in error.errors(include_url=False):
        keys = _keys(tree, fault["loc"])
        if fault["type"] == "missing":
            keys = _missing(keys, fault["loc"][-1])
        faults.setdefault(keys, fault)
    inner = [keys for keys in faults if not any(_contains(keys, other) for other in faults)]
    lines = [_Explainer(tree).line(keys, faults[keys]) for keys in inner[:MOST_FAULTS]]
    if len(inner) > MOST_FAULTS:
        lines.append(f"... and {len(inner) - MOST_FAULTS} more.")
    return "\n".join(lines)


def _missing(keys: Keys, part: str | int) -> Keys:
    """The key that is missing; a list too short is itself the fault."""
    if isinstance(part, str):
        return (*keys, part)
    return keys[:-1] if keys and isinstance(keys[-1], int) else keys


def _contains(keys: Keys, other: Keys) -> bool:
    """Whether `other` is a place inside `keys`: a union's fault yields to that of its member."""
    return len(other) > len(keys) and other[: len(keys)] == keys


def _keys(tree: Node, location: tuple[str | int, ...]) -> Keys:
    """Pydantic's location without the names of union members, which no file holds."""
    keys: list[str | int] = []
    value = tree.value
    for part in location:
        if isinstance(value, dict) and part in value:
            value = value[str(part)].value
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part].value if part < len(value) else None
        else:
            continue
        keys.append(part)
    return tuple(keys)


def dotted(keys: Keys) -> str:
    """`("train", "lr_steps", 1)` as `train.lr_steps[1]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


@cache
def _catalogue() -> Catalogue:
    return Catalogue()


class _Explainer:
    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self.catalogue = _catalogue()
        self.types: dict[Keys, object] = {}
        self._collect_types((), tree)

    def _collect_types(self, keys: Keys, node: Node) -> None:
        if isinstance(node.value, dict):
            if "type" in node.value:
                self.types[keys] = node.value["type"].value
            for key, child in node.value.items():
                self._collect_types((*keys, key), child)

    def line(self, keys: Keys, fault: ErrorDetails) -> str:
        """One fault as one sentence or two."""
        kind = fault["type"]
        if kind == "extra_forbidden":
            return self._unknown_key(keys)
        if kind == "missing" and isinstance(keys[-1], str):
            expected = describe(self.catalogue.at(keys, self.types))
            return f"{self._where(keys)}: missing, expected {expected}."
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            return self._unknown_type(keys)
        if kind == "value_error" and "enum" not in self.catalogue.at(keys, self.types):
            return self._contradiction(keys, str(fault["ctx"]["error"]))
        return self._wrong_value(keys)

    def _node(self, keys: Keys) -> Node:
        node = self.tree
        for key in keys:
            if isinstance(node.value, dict) and key in node.value:
                node = node.value[str(key)]
            elif isinstance(node.value, list) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
        return node

    def _where(self, keys: Keys) -> str:
        return ": ".join(filter(None, (str(self._node(keys).origin), dotted(keys))))

    def _wrong_value(self, keys: Keys) -> str:
        node = self._node(keys)
        schema = self.catalogue.at(keys, self.types)
        expected = describe(schema)
        hint = self._value_hint(keys, node.value, schema, expected)
        return f"{self._where(keys)}: found {found(node)}, expected {expected}.{hint}"

    def _value_hint(self, keys: Keys, value: object, schema: Schema, expected: str) -> str:
        if isinstance(value, dict | list):
            return ""
        if value in schema.get("discriminator", {}).get("mapping", {}):
            return f" Write {dotted(keys)}.type={value}."
        if isinstance(value, str) and "enum" in schema:
            return _nearest(value, [str(choice) for choice in schema["enum"]])
        if "a text" in expected:
            return " If a text is meant, put it in quotes."
        if schema.get("type") == "array" and value is not None:
            return f" A list of one is written [{value}]."
        return ""

    def _unknown_type(self, keys: Keys) -> str:
        choices = list(self.catalogue.at(keys, self.types)["discriminator"]["mapping"])
        node = self._node((*keys, "type"))
        allowed = ", ".join(repr(choice) for choice in choices)
        hint = _nearest(str(node.value), choices)
        said = "missing" if isinstance(node.value, dict) else f"found {found(node)}"
        return f"{self._where((*keys, 'type'))}: {said}, expected one of {allowed}.{hint}"

    def _contradiction(self, keys: Keys, message: str) -> str:
        section = self._node(keys).value
        if not isinstance(section, dict):
            return f"{self._where(keys)}: {message}."
        named = [key for key in section if re.search(rf"\b{key}\b", message)]
        values = ", ".join(
            f"{key} is {found(section[key])} ({section[key].origin})" for key in named
        )
        where = f"{dotted(keys)}: " if keys else ""
        return f"{where}{message}; {values}."

    def _unknown_key(self, keys: Keys) -> str:
        name, parent = str(keys[-1]), keys[:-1]
        allowed = list(self.catalogue.section(parent, self.types).get("properties", {}))
        near = _nearest(name, allowed, prefix=f"{dotted(parent)}." if parent else "")
        hint = near + self._belongs(name, dotted(keys)) or self._near_elsewhere(name)
        if not hint:
            where = f"of {dotted(parent)} " if parent else ""
            hint = f" The keys {where}are: {', '.join(allowed)}."
        return f"{self._where(keys)}: unknown key.{hint}"

    def _belongs(self, name: str, written: str) -> str:
        places = self.catalogue.places(name)
        if not places:
            return ""
        here = [kind for place, kind in places if place == written and kind is not None]
        if here:
            section = written.rpartition(".")[0]
            return f" It belongs to {section} of type '{here[0]}'."
        names = list(dict.fromkeys(place for place, _ in places))
        return f" Its place is {' or '.join(names[:4])}."

    def _near_elsewhere(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.catalogue.names(), n=1, cutoff=0.75)
        if not near:
            return ""
        places = dict.fromkeys(place for place, _ in self.catalogue.places(near[0]))
        return f" Did you mean {' or '.join(list(places)[:4])}?"


def _nearest(word: str, choices: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, choices, n=1)
    return f" Did you mean '{prefix}{near[0]}'?" if near else ""


def found(node: Node) -> str:
    """A value in words: `the text 'four'`, `the number 1.5`, `nothing (null)`."""
    value = node.value
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {_short(value)}"
    if isinstance(value, int | float):
        return f"the number {_short(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a mapping"


def _short(value: object) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."
