"""Checkpoints: everything a run needs to go on exactly, written so that no crash can spoil them.

`checkpoints/step_00001000.pt` beside `step_00001000.pt.sha256` (as `sha256sum -c` reads it).
They hold tensors, numbers and strings only, and are only ever read with `weights_only=True`.
"""

import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfcn.engine.atomic import make_folder, remove_unfinished, sync_folder, write_atomically
from rfcn.engine.ema import WeightAverage
from rfcn.engine.finite import first_non_finite
from rfcn.engine.precision import Precision
from rfcn.engine.rng import capture_rng, restore_rng
from rfcn.engine.weights import load_into
from rfcn.errors import NumericalError, WeightsError
from rfcn.filekind import kind_of, origin_of, remedy_for

KIND = "rfcn-train"
FORMAT = 2
"""2: the rows of the head's maps lie bin by bin; in 1 they lay class by class."""
STATE = ("model", "optimizer", "average")
"""What must be finite, or it is worth nothing."""
NAME = re.compile(r"step_(\d+)\.pt")


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    best: float | None = None,
    extra: Mapping[str, Any] | None = None,
    precision: Precision | None = None,
    average: WeightAverage | None = None,
) -> dict[str, Any]:
    """The state of a run after `step`: parameters, optimizer, random generators, best result.

    Args:
        precision, average: of the steps, and of the weights, where the run has them.
        extra: more to remember (classes, config): tensors, numbers, strings, lists and dicts.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "precision": None if precision is None else precision.state_dict(),
        "average": None if average is None else average.state_dict(),
        "rng": capture_rng(),
        "best": best,
        "extra": dict(extra or {}),
    }


def restore(
    state: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    precision: Precision | None = None,
    average: WeightAverage | None = None,
) -> tuple[int, float | None]:
    """Put a captured state back; returns (step, best).

    Raises:
        WeightsError: the model, the optimizer, the precision or the average is not the one the
            state was taken from.
    """
    for name, part in (("precision", precision), ("average", average)):
        held = state.get(name)  # none in a checkpoint that is older than the part
        if part is not None and held is not None:
            part.load_state_dict(held)
    try:
        load_into(model, state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (WeightsError, ValueError) as error:
        raise WeightsError(
            f"the checkpoint of step {state['step']} belongs to another model: {error}. Resume "
            "with the config of the run it came from, or start a new run from its weights."
        ) from error
    restore_rng(state["rng"])
    return state["step"], state["best"]


def save_checkpoint(folder: Path, state: Mapping[str, Any], step: int, keep: int = 3) -> Path:
    """Write `state` as the checkpoint of `step` and delete all but the newest `keep`.

    Raises:
        NumericalError: a weight or a momentum is not finite; nothing is written.
        MachineError: the disk is full or the folder cannot be written; the others are untouched.
    """
    bad = first_non_finite({key: state[key] for key in STATE if key in state})
    if bad is not None:
        raise NumericalError(
            f"the checkpoint of step {step} was not written: {bad} holds NaN or infinity. "
            "The checkpoints before it are good; resume from them with a lower train.lr."
        )
    make_folder(folder)
    path = path_of(folder, step)
    _digest_path(path).unlink(missing_ok=True)  # first: it never outlives its file
    write_atomically(path, lambda file: torch.save(dict(state), file), check=_check_archive)
    _write_digest(path)
    for old in checkpoints(folder)[:-keep]:
        _digest_path(old).unlink(missing_ok=True)  # first: it never outlives its file
        old.unlink()
    sync_folder(folder)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest step first."""
    if not folder.is_dir():
        return []
    numbered = [(match, path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for match, path in sorted(numbered, key=lambda pair: int(pair[0][1]))]


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step_{step:08d}.pt"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify one checkpoint, onto the CPU.

    Raises:
        WeightsError: it is missing, no checkpoint, damaged, unsafe, foreign or too new.
    """
    kind = kind_of(path)
    if kind == "a safetensors file" or (path / "model.safetensors").exists():
        raise WeightsError(
            f"{path} holds weights only, no optimizer state, so training cannot be resumed from "
            "it. Give the run's folder, or start a new run from these weights."
        )
    if kind != "a PyTorch file":
        hint = remedy_for(kind) or origin_of(path)
        raise WeightsError(f"{path} is not a checkpoint but {kind}. {hint}".rstrip())
    try:
        _check_digest(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it holds Python objects, not only tensors, and could run code. "
            + (origin_of(path) or "This program did not write it; do not load it anywhere else.")
        ) from error
    except (RuntimeError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}). Resume from the checkpoint before it: --resume does so "
            "when given the run's folder."
        ) from error
    _check_contents(path, state)
    return state


def newest_good(folder: Path, say: Callable[[str], object]) -> dict[str, Any] | None:
    """The newest checkpoint of `folder` that is whole, or None where there is none at all.

    Args:
        say: is given one line for each checkpoint that had to be passed over.

    Raises:
        WeightsError: there are checkpoints, and none can be read.
    """
    if folder.is_dir():
        remove_unfinished(folder)
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            state = load_checkpoint(path)
        except WeightsError as error:
            say(f"passed over: {error}")
            continue
        if not _digest_path(path).exists():  # its writer was killed in between
            _write_digest(path)
        return state
    if paths:
        raise WeightsError(
            f"none of the {len(paths)} checkpoints in {folder} can be read; the lines above say "
            "why. Start anew with --overwrite."
        )
    return None


def _check_archive(path: Path) -> None:
    """Prove that a file just written can be read back: its checksums, and its contents."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise OSError(f"{damaged} reads back differently")
    torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _check_digest(path: Path) -> None:
    """Compare with the side file or, where a crash left none, with the archive's own checksums."""
    digest = _digest_path(path)
    if not digest.exists():
        _check_archive(path)
    elif _sha256(path) != digest.read_text(encoding="utf-8").split()[0]:
        raise OSError(f"its sha256 is not the one in {digest.name}")


def _check_contents(path: Path, state: Any) -> None:
    if not isinstance(state, dict) or state.get("kind") != KIND:
        keys = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state)
        raise WeightsError(
            f"{path} is a PyTorch file of another program (it holds: {keys}), not a checkpoint "
            f"of a training run here. {origin_of(path)}".rstrip()
        )
    if state["format"] == 1:
        raise WeightsError(
            f"{path} has checkpoint format 1, in which the rows of the head's maps lie in another "
            f"order; this version reads {FORMAT}. Finish the run with the version that began it, "
            "or begin it anew."
        )
    if state["format"] > FORMAT:
        raise WeightsError(
            f"{path} has checkpoint format {state['format']}; this version reads up to {FORMAT}. "
            "Update rfcn."
        )
    bad = first_non_finite({key: state[key] for key in ("model", "average") if key in state})
    if bad is not None:
        raise WeightsError(f"{path} is useless: {bad} holds NaN or infinity.")


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write_digest(path: Path) -> None:
    digest = f"{_sha256(path)}  {path.name}\n"
    write_atomically(_digest_path(path), lambda file: file.write(digest.encode()))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
