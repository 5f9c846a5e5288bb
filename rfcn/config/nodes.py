"""Config values that remember where they were written, and the strict YAML reader that makes them.

A `Node` is one value with its `Origin`. Plain scalars follow YAML 1.2's core schema, so that `no`
is a word and `5e-4` a number; only mappings, lists, texts, numbers, true/false and null exist.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from rfcn.errors import ConfigError

MAX_BYTES = 256 * 1024
"""Largest config file. Longer class lists belong into a text file (`data.classes`)."""
MAX_DEPTH = 32
"""Deepest nesting; the schema needs five levels."""
MAX_NODES = 20_000
"""Most values after aliases are written out."""

Scalar = str | int | float | bool | None
Value = Scalar | dict[str, "Node"] | list["Node"]


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a file and a line, or a source without lines."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A value (a mapping of nodes, a list of nodes or a scalar) and where it was written."""

    value: Value
    origin: Origin

    def plain(self) -> Any:
        """The value without origins; lists become tuples, as the frozen schema wants them."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return tuple(child.plain() for child in self.value)
        return self.value


DEFAULT = Origin("default")
"""Where a value comes from that nobody wrote."""


def node_from_plain(value: object, origin: Origin, *, depth: int = 0) -> Node:
    """The same data as a `Node`, every value written at `origin`.

    Raises:
        ConfigError: a key is not a text, a value is of a kind that YAML has not, or it is nested
            too deeply.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(_too_deep(origin))
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ConfigError(f"{origin}: a key must be a text, found {wrong[0]!r}.")
        below = {key: node_from_plain(item, origin, depth=depth + 1) for key, item in value.items()}
        return Node(below, origin)
    if isinstance(value, list | tuple):
        return Node([node_from_plain(item, origin, depth=depth + 1) for item in value], origin)
    if value is None or isinstance(value, str | int | float | bool):
        return Node(value, origin)
    raise ConfigError(f"{origin}: {value!r} is of a kind that a config cannot hold.")


def _too_deep(origin: Origin) -> str:
    return f"{origin}: nested more than {MAX_DEPTH} levels deep."


def _too_many(origin: Origin) -> str:
    return f"{origin}: more than {MAX_NODES} values, aliases written out."


# ------------------------------------------------------------------------------------------ YAML

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": (r"(?:null|Null|NULL|~|)", ["n", "N", "~", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"[-+]?[0-9]+(?:_[0-9]+)*", list("-+0123456789")),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+0123456789."),
    ),
}


def add_scalar_rules(processor: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    """Teach a PyYAML loader or dumper which plain words are null, booleans and numbers."""
    for name, (pattern, first) in _SCALARS.items():
        processor.add_implicit_resolver(_TAG + name, re.compile(f"^{pattern}$"), first)


class _LimitError(Exception):
    """A limit is passed: the sentence about it, and the line where."""

    def __init__(self, say: Callable[[Origin], str], line: int) -> None:
        self.say = say
        self.line = line


class _Composer(yaml.SafeLoader):
    """PyYAML up to its node graph, bounded; nothing is ever constructed by it."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML keeps its table there

    depth = 0
    count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            raise _LimitError(_too_deep, self.line + 1)
        if self.count > MAX_NODES * 2:  # keys are counted here, and not below
            raise _LimitError(_too_many, self.line + 1)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


add_scalar_rules(_Composer)


def parse_yaml(text: str, source: str, *, lines: bool = True) -> Node | None:
    """Read one YAML document; nothing when it is empty.

    Args:
        source: what errors call the text: the path of the file, or `command line: key=value`.
        lines: whether errors give line numbers.

    Raises:
        ConfigError: a syntax error, a tag, a key written twice, too deep or too large.
    """
    try:
        graph = _compose(text)
    except _LimitError as error:
        raise ConfigError(error.say(Origin(source, error.line if lines else None))) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_error(error, text, source, lines)) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{source}: the character U+{int(error.character):04X} at position {error.position} "
            "is not allowed in YAML. Is this a text file?"
        ) from None
    return None if graph is None else _Builder(source, lines).build(graph, 0, None)


def _compose(text: str) -> yaml.Node | None:
    composer = _Composer(text)
    try:
        return composer.get_single_node()
    finally:
        composer.dispose()


def _syntax_error(error: yaml.MarkedYAMLError, text: str, source: str, lines: bool) -> str:
    problem = " ".join(filter(None, (error.context, error.problem)))
    written = [line.expandtabs(4).strip() for line in text.splitlines()] + [""]
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    if not marks or not lines:
        return f"{source}: not YAML: {problem}."
    # What is still open at the end of the file is shown where it began.
    mark = next((mark for mark in marks if written[mark.line]), marks[0])
    line = written[mark.line]
    tab = " Indent with spaces: YAML forbids tabs." if "'\\t'" in problem else ""
    return f"{source}:{mark.line + 1}:{mark.column + 1}: not YAML: {problem}, in `{line}`.{tab}"


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


class _Builder:
    """Turns PyYAML's graph into a tree of `Node`s, aliases written out, within the limits."""

    def __init__(self, source: str, lines: bool) -> None:
        self.source = source
        self.lines = lines
        self.count = 0

    def origin(self, mark: yaml.Mark) -> Origin:
        return Origin(self.source, mark.line + 1 if self.lines else None)

    def build(self, node: yaml.Node, depth: int, origin: Origin | None) -> Node:
        origin = origin or self.origin(node.start_mark)
        self.count += 1
        if self.count > MAX_NODES:
            raise ConfigError(_too_many(origin))
        if depth > MAX_DEPTH:
            raise ConfigError(_too_deep(origin))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return Node(dict(self._items(node, depth)), origin)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return Node([self.build(child, depth + 1, None) for child in node.value], origin)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, origin), origin)
        raise self._bad_tag(node, origin)

    def _items(self, mapping: yaml.MappingNode, depth: int) -> Iterator[tuple[str, Node]]:
        seen: dict[str, Origin] = {}
        for key, value in mapping.value:
            origin = self.origin(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{origin}: a key must be a word, not a list or a mapping.")
            if key.value in seen:
                raise ConfigError(
                    f"{origin}: the key '{key.value}' is written twice in one mapping; "
                    f"the first is at {seen[key.value]}. Delete one of them."
                )
            seen[key.value] = origin
            yield key.value, self.build(value, depth + 1, origin)

    def _scalar(self, node: yaml.ScalarNode, origin: Origin) -> Scalar:
        text = node.value
        try:
            match node.tag.removeprefix(_TAG):
                case "str":
                    return str(text)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text)
                case "float":
                    return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.lower()))
        except (ValueError, KeyError):
            raise ConfigError(
                f"{origin}: cannot read '{text[:40]}' as {_short(node.tag)}."
            ) from None
        raise self._bad_tag(node, origin)

    def _bad_tag(self, node: yaml.Node, origin: Origin) -> ConfigError:
        return ConfigError(
            f"{origin}: the YAML tag {_short(node.tag)} is not allowed; "
            "a config holds mappings, lists, texts, numbers, true, false and null."
        )
