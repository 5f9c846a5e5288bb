"""The deployable weights: a folder with `model.safetensors` and the same facts in `config.json`.

The header of `model.safetensors` carries one JSON text under the key `rfcn`:
`{"format": 2, "classes": [...], "config": {...}, "metrics": {...}, "sha256": "..."}`. The file is
complete without its neighbour; `config.json` is for people. The digest is that of the names and
bytes of all tensors: whoever downloads or copies the file is told of a bit that has changed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rfcn.engine.atomic import make_folder, write_atomically
from rfcn.engine.finite import first_non_finite
from rfcn.errors import NumericalError, WeightsError
from rfcn.filekind import kind_of, origin_of, remedy_for

FORMAT = 2
"""2: the rows of the head's maps lie bin by bin; in 1 they lay class by class."""
FILE = "model.safetensors"
WRAPPERS = ("module.", "_orig_mod.")
"""What torch puts before the names of a model that is wrapped for processes, or compiled."""


def save_weights(folder: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Write the weights folder; each file replaces the old one in one go.

    Args:
        state: the model's state dict.
        metadata: `classes` (list of names, label 1 first), `config`, `metrics`: JSON values.

    Returns:
        The path of the safetensors file.

    Raises:
        NumericalError: a weight is not finite; nothing is written.
        MachineError: the disk is full or the folder cannot be written.
    """
    bad = first_non_finite(state)
    if bad is not None:
        raise NumericalError(f"the weights were not written to {folder}: {bad} is not finite.")
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    facts = {"format": FORMAT, **metadata, "sha256": _digest(tensors)}
    make_folder(folder)
    path = folder / FILE
    content = save(tensors, metadata={"rfcn": json.dumps(facts)})
    write_atomically(path, lambda file: file.write(content), check=_read_file)
    readable = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "config.json", lambda file: file.write(readable.encode()))
    return path


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights folder, or the safetensors file in it: (state dict on the CPU, metadata).

    Raises:
        WeightsError: missing, not ours, not safetensors, damaged, too new or not finite.
    """
    file = path / FILE if path.is_dir() else path
    kind = kind_of(file)
    if path.is_dir() and kind == "missing":
        raise WeightsError(
            f"{path} is a folder without {FILE}. A run keeps its weights in RUN/weights/best and "
            "RUN/weights/last."
        )
    if kind in ("a PyTorch file", "a pickle"):
        raise WeightsError(
            f"{file} is {kind}, not safetensors. "
            + (
                origin_of(file)
                or "The weights of a run are in RUN/weights/; checkpoints are for --resume."
            )
        )
    if kind != "a safetensors file":
        hint = remedy_for(kind) or origin_of(file)
        raise WeightsError(f"{file} holds no weights but is {kind}. {hint}".rstrip())
    try:
        state, facts = _read_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file} is damaged or cut short ({error}). Copy or download it again."
        ) from error
    metadata = _parse_facts(file, facts)
    if metadata.pop("sha256", None) not in (None, _digest(state)):
        raise WeightsError(
            f"{file} is damaged: its tensors are not those whose sha256 it carries. Copy or "
            "download it again."
        )
    bad = first_non_finite(state)
    if bad is not None:
        raise WeightsError(f"{file} is useless: {bad} holds NaN or infinity.")
    return state, metadata


def load_into(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give `model` the weights, all of them or none, in its own precision.

    What wrappers (several processes, a moving average, a compiled model) put before every name, or
    beside the weights, is dropped.

    Raises:
        WeightsError: names or shapes differ; the first five are shown, nothing is loaded.
    """
    state = _unwrapped(state)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        shown = "; ".join(
            f"{name}: model {expected.get(name, 'without')}, file {found.get(name, 'without')}"
            for name in wrong[:5]
        )
        raise WeightsError(
            f"the weights do not fit the model: {len(wrong)} of {len({**expected, **found})} "
            f"tensors differ, the first {min(5, len(wrong))}: {shown}. Nothing was loaded. Build "
            "the model from the config the weights carry, or train with this config."
        )
    model.load_state_dict(dict(state))


def check_classes(expected: Sequence[str], found: Sequence[str]) -> None:
    """Refuse weights whose classes are not those of the data, in the same order.

    Args:
        expected: names of the data or the config, label 1 first.
        found: names the weights were trained with.

    Raises:
        WeightsError: shows the two lists side by side.
    """
    if list(expected) == list(found):
        return
    width = max([len("wanted"), *map(len, expected)])
    rows = [f"  label  {'wanted':<{width}}  in the weights"]
    for label, (want, have) in enumerate(zip_longest(expected, found, fillvalue="-"), start=1):
        mark = "" if want == have else "  <- differs"
        rows.append(f"  {label:>5}  {want:<{width}}  {have}{mark}")
    raise WeightsError(
        "the weights were trained for other classes, or for the same in another order:\n"
        + "\n".join(rows)
        + "\nUse the class list of the weights, or train new weights for this one: "
        "train.start_from takes over what is known of it."
    )


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what torch's DistributedDataParallel, AveragedModel or compile add to names."""
    bare = {name: tensor for name, tensor in state.items() if name != "n_averaged"}
    while bare and (
        wrapper := next((one for one in WRAPPERS if all(name.startswith(one) for name in bare)), "")
    ):
        bare = {name.removeprefix(wrapper): tensor for name, tensor in bare.items()}
    return bare


def _digest(state: Mapping[str, Tensor]) -> str:
    """Of names and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        found.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(str(path), framework="pt", device="cpu") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return state, file.metadata() or {}


def _parse_facts(path: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of the header, checked."""
    try:
        metadata = json.loads(facts["rfcn"])
        version, classes = metadata["format"], metadata["classes"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path} is a safetensors file of another program: its header has no readable `rfcn` "
            "entry with the classes and the config. Only weights saved here can be loaded."
        ) from error
    if version == 1:
        raise WeightsError(
            f"{path} has weights format 1, in which the rows of the head's maps lie in another "
            f"order; this version reads {FORMAT}. CHANGELOG.md says how to convert them."
        )
    if not isinstance(version, int) or version > FORMAT:
        raise WeightsError(
            f"{path} has weights format {version}; this version reads up to {FORMAT}. Update rfcn."
        )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise WeightsError(f"{path} names its classes {classes!r}, which is no list of names.")
    return metadata
