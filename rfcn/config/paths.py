"""Paths as people write them in a config: `~`, environment variables, slips of the keyboard."""

import os
import re
from pathlib import Path

from rfcn.errors import ConfigError


def expand_path(text: str, *, key: str) -> Path:
    """The path meant by a config value; relative paths count from the working directory.

    Args:
        text: the value, with `~`, `$NAME` and `${NAME}` allowed.
        key: dotted key it was written under, for errors.

    Raises:
        ConfigError: an environment variable is not set, a space at an end, or backslashes.
    """
    if text != text.strip() or not text:
        raise ConfigError(f"{key}: the path '{text}' is empty or begins or ends with a space.")
    expanded = os.path.expandvars(os.path.expanduser(text))
    unset = re.search(r"\$(?:\{([^}]*)\}|(\w+))", expanded)
    if unset:
        name = unset[1] or unset[2]
        raise ConfigError(f"{key}: the environment variable {name} in '{text}' is not set.")
    path = Path(expanded)
    if os.sep == "/" and "\\" in text and not path.exists():
        raise ConfigError(f"{key}: no such path: '{text}'. Write / instead of \\.")
    return path
