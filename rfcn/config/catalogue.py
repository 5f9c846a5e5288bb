"""What the schema allows, as data: the JSON schema, and what a key may hold in plain words."""

from collections.abc import Iterator, Sequence
from typing import Any

from rfcn.config.schema import Config
from rfcn.config.versions import VERSION

Schema = dict[str, Any]


def config_schema() -> Schema:
    """The JSON schema of a config file, for editors; every key may be left to a base file."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "R-FCN config"
    schema["properties"] = {
        "base": {
            "description": "File or files that this one differs from, relative to it.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        },
        "version": {
            "description": "Of the schema that the file was written for; nothing: this one.",
            "type": "integer",
            "minimum": 1,
            "maximum": VERSION,
        },
        **schema["properties"],
    }
    for definition in schema["$defs"].values():
        definition.pop("required", None)
    _relax_unions(schema)
    return schema


def _relax_unions(schema: Any) -> None:
    """A file may leave `type` to its base, so more than one member of a union can match."""
    if isinstance(schema, list):
        for item in schema:
            _relax_unions(item)
    elif isinstance(schema, dict):
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        for item in schema.values():
            _relax_unions(item)


def _schema(value: Any) -> Schema:
    """What JSON calls an object; gives `Any` its type back."""
    return dict(value)


class Catalogue:
    """Looks keys up in the schema. Keys are tuples such as ("train", "lr")."""

    def __init__(self) -> None:
        self._root = Config.model_json_schema()
        self._entries = list(self._walk((), self._root, None))

    def at(self, keys: Sequence[str | int], types: dict[tuple[str | int, ...], object]) -> Schema:
        """The schema of a key; `types` gives the `type` written in each mapping on the way."""
        schema = self._root
        for depth, key in enumerate(keys):
            section = self._section(schema, types.get(tuple(keys[:depth])))
            schema = self._child(section, key)
        return self._resolve(schema)

    def section(
        self, keys: Sequence[str | int], types: dict[tuple[str | int, ...], object]
    ) -> Schema:
        """The schema of a mapping, of the right member of a union."""
        return self._section(self.at(keys, types), types.get(tuple(keys)))

    def places(self, name: str) -> list[tuple[str, str | None]]:
        """Every (dotted key, `type` of its section) that ends with `name`."""
        return [(".".join(keys), kind) for keys, kind in self._entries if keys[-1] == name]

    def names(self) -> set[str]:
        """Every key of the schema, without its section."""
        return {keys[-1] for keys, _ in self._entries}

    def _resolve(self, schema: Schema) -> Schema:
        """The schema behind references; of a section that may be null, the section's."""
        while True:
            optional = [one for one in schema.get("anyOf", ()) if "$ref" in one]
            if optional:
                schema = optional[0]
            if "$ref" not in schema:
                return schema
            schema = self._root["$defs"][schema["$ref"].rpartition("/")[2]]

    def _section(self, schema: Schema, kind: object) -> Schema:
        schema = self._resolve(schema)
        members = schema.get("discriminator", {}).get("mapping")
        if members is None:
            return schema
        unsaid = schema.get("default", {}).get("type", next(iter(members)))
        return self._resolve({"$ref": members[kind if kind in members else unsaid]})

    def _child(self, section: Schema, key: str | int) -> Schema:
        if isinstance(key, str):
            return _schema(section.get("properties", {}).get(key, {}))
        for schema in (section, *section.get("anyOf", ())):
            if "prefixItems" in schema:
                return _schema(schema["prefixItems"][min(key, len(schema["prefixItems"]) - 1)])
            if "items" in schema:
                return _schema(schema["items"])
        return {}

    def _walk(
        self, keys: tuple[str, ...], schema: Schema, kind: str | None
    ) -> Iterator[tuple[tuple[str, ...], str | None]]:
        if keys:
            yield keys, kind
        schema = self._resolve(schema)
        members = schema.get("discriminator", {}).get("mapping", {None: None})
        for tag, reference in members.items():
            section = self._resolve({"$ref": reference}) if reference else schema
            for name, child in section.get("properties", {}).items():
                yield from self._walk((*keys, name), child, tag)


# ----------------------------------------------------------------------------------- plain words

_NOUNS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
}


def describe(schema: Schema) -> str:
    """What a value of this schema must be: `a number from 0 to 1`, `one of 18, 34, 50`."""
    if "discriminator" in schema or schema.get("type") == "object":
        return _NOUNS["object"]
    if "anyOf" in schema:
        return " or ".join(describe(member) for member in schema["anyOf"])
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(repr(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return _describe_list(schema)
    return _NOUNS.get(schema.get("type", ""), "another value") + _range(schema)


def _describe_list(schema: Schema) -> str:
    items = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
    noun = describe(items).removeprefix("an ").removeprefix("a ")
    word, _, rest = noun.partition(" ")
    plural = f"{word}s {rest}".rstrip()
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])} {plural}"
    return f"a list of {plural}" + (", at least one" if schema.get("minItems") else "")


def _range(schema: Schema) -> str:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if above is not None:
        return f" above {above:g}" + ("" if high is None else f" and up to {high:g}")
    return "" if low is None else f" of at least {low:g}"
