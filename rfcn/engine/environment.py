"""Where a run happens: the versions it ran with, and the folder it writes to."""

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from rfcn.engine.atomic import SUFFIX, make_folder, remove_unfinished, write_atomically
from rfcn.engine.checkpoint import checkpoints
from rfcn.engine.lock import only_run_in
from rfcn.errors import ConfigError

PACKAGES = (
    *("rfcn", "torch", "torchvision", "numpy", "pillow", "pydantic", "safetensors"),
    *("opencv-python", "opencv-python-headless"),
)


def describe_environment(*, device: torch.device | str, ops_backend: str) -> dict[str, Any]:
    """What a result depends on beside its config: versions, device, commit; nothing personal.

    Args:
        ops_backend: the implementation of the operators in use, as `rfcn.ops` names it.
    """
    device = torch.device(device)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "ops_backend": ops_backend,
        "commit": _commit(),
    }


def create_run_folder(
    output: Path,
    *,
    config_text: str,
    environment: dict[str, Any],
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Make the folder of a run and write config.yaml and environment.json into it.

    A new folder, or an empty one, is always fine. A folder that holds something is taken only with
    `resume`, when it holds checkpoints, or with `overwrite`, which empties it of what a run writes.
    A resumed run keeps the config.yaml it began with.

    Raises:
        ConfigError: the folder exists and neither word was given, or `output` is a file, or there
            is nothing to resume, or both words were given, or another run is using the folder.
        MachineError: the folder cannot be written.
    """
    if resume and overwrite:
        raise ConfigError("--resume keeps what is there and --overwrite deletes it: give one.")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file. Name a folder, new or empty.")
    occupied = output.is_dir() and any(path.name not in _LEFT_AT_ONCE for path in output.iterdir())
    if resume and not checkpoints(output / "checkpoints"):
        raise ConfigError(
            f"--resume: {output} holds no checkpoint, so there is nothing to go on from. "
            "Check --output, or start a new run without --resume."
        )
    if occupied and not (resume or overwrite):
        raise ConfigError(
            f"--output {output} exists and is not empty. Go on with it by --resume, replace it by "
            "--overwrite, or name another folder."
        )
    if occupied:
        with only_run_in(output):
            if overwrite:
                _empty(output)
    make_folder(output)
    remove_unfinished(output)
    if not resume:
        write_atomically(output / "config.yaml", lambda file: file.write(config_text.encode()))
    facts = json.dumps(environment, indent=2) + "\n"
    write_atomically(output / "environment.json", lambda file: file.write(facts.encode()))
    return output


WRITTEN = (
    *("environment.json", "train.log", "metrics.jsonl", "failure.json"),
    *("tensorboard", "checkpoints", "weights", "eval", "pictures"),
    "config.yaml",  # the last to be deleted: by it a folder is known as that of a run
)
_LEFT_AT_ONCE = (".lock", f"config.yaml{SUFFIX}")
"""What is in the folder of a run that was killed before it had written anything."""


def _empty(output: Path) -> None:
    """Delete what a run writes, and only in a folder that a run wrote.

    Raises:
        ConfigError: the folder holds something and no config.yaml of a run.
    """
    if not (output / "config.yaml").is_file():
        raise ConfigError(
            f"--overwrite: {output} was not written by a run (it has no config.yaml), so it is "
            "left alone. Name another folder."
        )
    for name in WRITTEN:
        path = output / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree this package runs from, with `+` when files were changed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"{git('rev-parse', 'HEAD')}{changed}" or None
    except (OSError, subprocess.SubprocessError):
        return None
