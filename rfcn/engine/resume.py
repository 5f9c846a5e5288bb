"""From where a run goes on, and what may change then: little, and it is said."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rfcn.engine.checkpoint import load_checkpoint, newest_good, path_of
from rfcn.engine.distributed import World
from rfcn.errors import ConfigError

CHANGEABLE = ("data.root", "data.workers", "eval", "runtime")
"""Keys, or sections, that do not touch what is learned."""


def find_checkpoint(
    folder: Path, world: World, say: Callable[[str], object]
) -> dict[str, Any] | None:
    """The newest good checkpoint, as the process that leads finds it; the same one for all.

    Raises:
        WeightsError: see `newest_good`; or this process cannot read what that one could.
    """
    state = newest_good(folder, say) if world.leads else None
    step = world.share(None if state is None else state["step"])
    return state if world.leads or step is None else load_checkpoint(path_of(folder, step))


def check_same_config(
    saved: Mapping[str, Any], current: Mapping[str, Any], allowed: Collection[str] = CHANGEABLE
) -> list[str]:
    """Compare the config of a run with the one it is to be resumed with, both as nested dicts.

    Returns:
        One line for each allowed difference, to be said aloud.

    Raises:
        ConfigError: something else differs; all such keys are named with both values.
    """
    before, now = _leaves(saved), _leaves(current)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    lines = {key: f"{key}: {_show(before, key)} -> {_show(now, key)}" for key in changed}
    refused = [key for key in changed if not _within(key, allowed)]
    if refused:
        raise ConfigError(
            "--resume goes on with the config of the run, and these differ: "
            + "; ".join(lines[key] for key in refused)
            + ". Undo them, or start a new run in another --output."
        )
    return list(lines.values())


def change_of_processes(before: int | None, now: int) -> list[str]:
    """What is to be said aloud where a run goes on with another number of processes.

    Args:
        before: how many took its last step; None where a checkpoint does not say.
    """
    if before in (None, now):
        return []
    return [
        f"processes: {before} -> {now}. The steps stay the same, pictures, rate and all; sums in "
        "another order may change the last digits of a weight."
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def _within(key: str, allowed: Collection[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _show(leaves: Mapping[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "(absent)"
