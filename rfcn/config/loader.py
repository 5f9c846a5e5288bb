"""Config files to a checked, frozen `Config`: read -> merge -> override -> validate.

A file names the file it differs from under `base:`; below them all lie the schema's defaults.
Whatever is wrong ends in one `ConfigError` that names the file and line where it was written.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rfcn.config.merge import merge, parse_overrides
from rfcn.config.messages import explain
from rfcn.config.nodes import (
    DEFAULT,
    MAX_BYTES,
    Node,
    Origin,
    add_scalar_rules,
    node_from_plain,
    parse_yaml,
)
from rfcn.config.schema import Config
from rfcn.config.versions import VERSION, migrate
from rfcn.errors import ConfigError

MAX_BASES = 10
"""Longest chain of `base:` files."""


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, over: Sequence[str | Path] = ()
) -> Config:
    """The config of a file, its bases and `key=value` overrides.

    Args:
        path: a YAML file; a name that is not on disk is looked for among the shipped configs.
        over: files laid on it, below the overrides; found the same way.

    Raises:
        ConfigError: naming file and line, the dotted key, what was found and what is expected.
    """
    layers = [layer for file in (path, *over) for layer in _read_layers(find_config(file), ())]
    return _resolve(layers, overrides)


def config_from_mapping(
    mapping: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "mapping"
) -> Config:
    """The config of plain data, such as a file's JSON or a dictionary; `source` names it in errors.

    Raises:
        ConfigError: as `load_config`.
    """
    return _resolve([node_from_plain(mapping, Origin(source))], overrides)


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """The config with `key=value` overrides laid on it.

    Raises:
        ConfigError: as `load_config`.
    """
    return config_from_mapping(config.model_dump(), overrides, source="config")


def dump_config(config: Config) -> str:
    """YAML text of every setting; reading it gives an equal config."""
    return yaml.dump(
        stored_config(config),
        Dumper=_Dumper,
        sort_keys=False,
        width=100,
        allow_unicode=True,
    )


def stored_config(config: Config) -> dict[str, Any]:
    """Every setting as JSON values, with the version of the schema: what weights carry."""
    return {"version": VERSION, **config.model_dump(mode="json")}


# --------------------------------------------------------------------------------------- finding


def find_config(path: str | Path) -> Path:
    """The file meant by `path`: on disk, or else among the configs that come with the project.

    Raises:
        ConfigError: there is none; the nearest shipped name is given.
    """
    path = Path(path)
    if path.exists():
        return path
    shipped = _shipped_configs()
    relative = _below_configs(path)
    if shipped and relative and (shipped / relative).is_file():
        return shipped / relative
    names = (
        [file.relative_to(shipped).as_posix() for file in shipped.rglob("*.yaml")]
        if shipped
        else []
    )
    near = difflib.get_close_matches((relative or path).as_posix(), names, n=1, cutoff=0.5)
    hint = f" Did you mean the shipped '{near[0]}'?" if near else " Check the path."
    raise ConfigError(
        f"{path}: no such config file, neither on disk nor among the shipped ones.{hint}"
    )


def _shipped_configs() -> Path | None:
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "configs", package.parent / "configs")
    return next((folder for folder in candidates if (folder / "_base_").is_dir()), None)


def _below_configs(path: Path) -> Path | None:
    """`path` as a place below the shipped configs, which their own name may precede."""
    if path.is_absolute() or ".." in path.parts:
        return None
    return Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path


# --------------------------------------------------------------------------------------- reading


def _read_layers(path: Path, chain: tuple[Path, ...]) -> list[Node]:
    """A file on top of its bases, lowest first. `chain` holds the files that led here."""
    _check_chain(path, chain)
    sections = _read_file(path)
    base = sections.pop("base", None)
    layers: list[Node] = []
    for file in _bases(path, base) if base else ():
        layers += _read_layers(file, (*chain, path))
    return [*layers, Node(sections, Origin(str(path)))]


def _check_chain(path: Path, chain: tuple[Path, ...]) -> None:
    shown = " -> ".join(str(file) for file in (*chain, path))
    if path.resolve() in {file.resolve() for file in chain}:
        raise ConfigError(f"{chain[-1]}: base: the files name each other in a circle: {shown}.")
    if len(chain) > MAX_BASES:
        raise ConfigError(f"{chain[-1]}: base: more than {MAX_BASES} files deep: {shown}.")


def _bases(path: Path, node: Node) -> list[Path]:
    names = node.plain()
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{node.origin}: base: expected a file name or a list of file names.")
    found = []
    for name in names:
        beside = path.parent / name
        try:
            found.append(beside if beside.exists() else find_config(name))
        except ConfigError:
            raise ConfigError(
                f"{node.origin}: base: no such file: {beside} (named by {path}). "
                "A base is found relative to the file that names it."
            ) from None
    return found


def _read_file(path: Path) -> dict[str, Node]:
    """The sections of one file, its bases not yet read."""
    node = parse_yaml(_read_text(path), str(path))
    if node is None:
        raise ConfigError(
            f"{path}: the file is empty; a config is a mapping such as `train: {{}}`."
        )
    if not isinstance(node.value, dict):
        raise ConfigError(
            f"{node.origin}: a config must be a mapping of sections, `train:` and so on."
        )
    return node.value


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name the config file in it.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: too large for a config: more than {MAX_BYTES // 1024} KiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from None


# ------------------------------------------------------------------------- overriding, validating


def _resolve(layers: Sequence[Node], overrides: Sequence[str]) -> Config:
    """The schema's defaults, the layers and the overrides, one on the other, checked."""
    command_line = parse_overrides(overrides)
    tree = node_from_plain(Config().model_dump(), DEFAULT)
    for layer in (*layers, *([command_line] if command_line else [])):
        tree = merge(tree, migrate(layer))
    try:
        return Config.model_validate(tree.plain())
    except ValidationError as error:
        raise ConfigError(explain(error, tree)) from None


# --------------------------------------------------------------------------------------- writing


class _Dumper(yaml.SafeDumper):
    """Lists in one line, mappings in blocks, and every text that could be misread in quotes."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_flow_list(self, data: list[Any]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)

    def represent_text(self, data: str) -> yaml.Node:
        """YAML folds Unicode's own line breaks into spaces, unless they are escaped."""
        style = '"' if set(data) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(list, _Dumper.represent_flow_list)
_Dumper.add_representer(str, _Dumper.represent_text)
add_scalar_rules(_Dumper)
