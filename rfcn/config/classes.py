"""Class names: what a list of them must obey, and reading one from a text file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rfcn.config.paths import expand_path
from rfcn.errors import ConfigError


def check_class_names(names: Sequence[str]) -> None:
    """Refuse what cannot be a list of object classes.

    Raises:
        ValueError: an empty list, an empty name, a name twice, or `background`.
    """
    if not names:
        raise ValueError("classes is empty; name at least one class")
    if any(not name.strip() for name in names):
        raise ValueError("classes holds an empty name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"classes names '{twice[0]}' more than once")
    if any(name.lower() == "background" for name in names):
        raise ValueError("classes must not name 'background': label 0 is reserved for it")


def read_class_file(path: str) -> tuple[str, ...]:
    """Class names from a text file, one a line; blank lines and `#` comments are skipped.

    Raises:
        ConfigError: the file is missing or unreadable, or its names are refused.
    """
    file = expand_path(path, key="data.classes")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"data.classes: cannot read the text file {file} ({_reason(error)}). "
            f"If '{path}' is the name of a class, write a list: classes: [{path}]."
        ) from None
    lines = (line.strip() for line in text.splitlines())
    names = tuple(line for line in lines if line and not line.startswith("#"))
    try:
        check_class_names(names)
    except ValueError as error:
        raise ConfigError(f"{Path(file)}: {error}.") from None
    return names


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8"
