"""What a run leaves of a step that went wrong: `failure/step_00000007/`, enough to take it again.

`failure.json` is for people: pictures, boxes, rates, losses, the likely cause. `pictures.jpg` shows
the batch with its boxes. `step.pt` holds what the step began with: batch, weights, random state,
config; it is read with `weights_only=True`. Such weights may hold NaN, so it is no checkpoint, and
neither `--resume` nor `--weights` takes it.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfcn.engine.atomic import make_folder, write_atomically
from rfcn.errors import RFCNError, WeightsError
from rfcn.filekind import kind_of, remedy_for
from rfcn.structures import ImageBatch, Target

KIND = "rfcn-failed-step"
FORMAT = 1
STEP, REPORT, PICTURES = "step.pt", "failure.json", "pictures.jpg"

_NUMBERS = re.compile(r"\[[-+\d.,e\s]+\]")
"""A list of numbers in JSON, which is read on one line."""

Batch = tuple[ImageBatch, list[Target]]


@dataclass(frozen=True)
class RunFacts:
    """What a bundle says of the run it comes from."""

    class_names: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    """As JSON has it."""
    draw: Callable[[Path, Sequence[Batch]], object] | None = None
    """Draws batches with their boxes into a file."""
    file_of: Callable[[str], Path | None] = lambda name: None
    """The file of a picture, where it is known."""


@dataclass(frozen=True)
class FailedStep:
    """What a step began with."""

    step: int
    pieces: Sequence[Batch]
    """The batches that this process had, on the CPU once they were read back."""
    weights: Mapping[str, Tensor]
    """The model's state dict."""
    rng: Mapping[str, Any]
    """As `torch_rng` captures it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and words that the manner of the step depends on, such as a loss scale."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read back."""

    failed: FailedStep
    class_names: tuple[str, ...]
    config: Mapping[str, Any]
    report: Mapping[str, Any]
    """`failure.json`; empty where it is missing."""


def torch_rng(device: torch.device) -> dict[str, Tensor]:
    """The state of the generators that a step may draw from: microseconds, no synchronisation."""
    found = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_torch_rng(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `torch_rng` took, as far as this device has such a generator."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def write_bundle(
    folder: Path, failed: FailedStep, report: Mapping[str, Any], facts: RunFacts, *, rank: int = 0
) -> tuple[Path, list[str]]:
    """Write `folder`/step_NNNNNNNN; of a process other than the first with its rank.

    What cannot be written must not hide why the step failed: the folder, and a line for each part
    that it lacks.
    """
    own = f"step_{failed.step:08d}" + (f"_rank_{rank}" if rank else "")
    place = folder / own
    lacking = []
    filed = dict(report, pictures=[_with_file(each, facts) for each in report["pictures"]])
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), json.dumps(filed, indent=2))
    parts: dict[str, Callable[[Path], object]] = {
        REPORT: lambda path: write_atomically(path, lambda file: file.write(f"{text}\n".encode())),
        STEP: lambda path: _write_step(path, failed, facts),
    }
    if facts.draw is not None:
        parts[PICTURES] = lambda path: facts.draw and facts.draw(path, failed.pieces)
    for name, write in parts.items():
        try:
            make_folder(place)
            write(place / name)
        except Exception as error:
            lacking.append(f"{name} could not be written ({type(error).__name__}: {error})")
    return place, lacking


def read_bundle(folder: Path) -> Bundle:
    """Read what `write_bundle` wrote.

    Raises:
        WeightsError: there is no such step, or it is damaged, unsafe, foreign or too new.
    """
    path = folder / STEP if folder.is_dir() else folder
    kind = kind_of(path)
    if kind != "a PyTorch file":
        raise WeightsError(
            f"{path} is no failed step but {kind}. {remedy_for(kind)} Give the folder that the "
            "failed run named: RUN/failure/step_NNNNNNNN.".replace("  ", " ")
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it holds Python objects, not only tensors, and could run code."
        ) from error
    except (RuntimeError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Copy it again.") from error
    if not isinstance(state, dict) or state.get("kind") != KIND:
        raise WeightsError(f"{path} is a PyTorch file, but no failed step of a training run here.")
    if state["format"] > FORMAT:
        raise WeightsError(
            f"{path} has format {state['format']}; this version reads up to {FORMAT}. Update rfcn."
        )
    report = path.with_name(REPORT)
    return Bundle(
        FailedStep(
            state["step"],
            [_unpack(piece) for piece in state["pieces"]],
            state["weights"],
            state["rng"],
            state["extra"],
        ),
        tuple(state["classes"]),
        state["config"],
        json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {},
    )


def _with_file(picture: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
    try:
        path = facts.file_of(picture["id"])
    except (RFCNError, OSError):  # the file may be the very fault
        path = None
    return {"id": picture["id"], "file": None if path is None else str(path), **picture}


def _write_step(path: Path, failed: FailedStep, facts: RunFacts) -> None:
    state = {
        "kind": KIND,
        "format": FORMAT,
        "step": failed.step,
        "pieces": [_pack(*piece) for piece in failed.pieces],
        "weights": dict(failed.weights),
        "rng": dict(failed.rng),
        "extra": dict(failed.extra),
        "classes": list(facts.class_names),
        "config": dict(facts.config),
    }
    write_atomically(path, lambda file: torch.save(state, file))


def _pack(batch: ImageBatch, targets: Sequence[Target]) -> dict[str, Any]:
    return {
        "batch": dict(vars(batch.to("cpu"))),
        "targets": [dict(vars(each.to("cpu"))) for each in targets],
    }


def _unpack(piece: Mapping[str, Any]) -> Batch:
    return ImageBatch(**piece["batch"]), [Target(**each) for each in piece["targets"]]


def where_to_look(place: Path, lacking: Sequence[str]) -> str:
    """A sentence on a bundle that was written."""
    if any(line.startswith(STEP) for line in lacking):
        return f"{place} should hold the step, but {'; '.join(lacking)}."
    missing = "" if not lacking else f" ({'; '.join(lacking)})"
    return f"`rfcn replay {place}` takes the step again and says more{missing}."
