"""Weights on the Hugging Face hub: fetched by their id, sent there. An extra: `rfcn[hub]`."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rfcn.errors import MachineError, WeightsError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ["model.safetensors", "config.json", "README.md"]
INSTALL = "pip install 'rfcn[hub]'"


def is_hub_id(path: str | Path) -> bool:
    """Whether `OWNER/NAME` can only be meant for the hub: there is no such file or folder here, nor
    a folder OWNER in which it might be missing. A `Path` never is."""
    return (
        isinstance(path, str)
        and _ID.fullmatch(path) is not None
        and not Path(path).exists()
        and not Path(path).parent.is_dir()
    )


def fetch_weights(path: str | Path, *, revision: str | None = None) -> Path:
    """The folder (or file) itself; of an id of the hub the folder that its files were put in.

    Raises:
        MachineError: huggingface_hub is not installed. WeightsError: the hub does not give it.
    """
    if not is_hub_id(path):
        return Path(path)
    hub = _library(f"{path}: there is no such folder here. To look on the Hugging Face hub")
    try:
        folder = hub.snapshot_download(str(path), revision=revision, allow_patterns=_FILES)
    except Exception as error:  # each of its versions has its own, of several libraries
        at = f" at {revision}" if revision else ""
        raise WeightsError(
            f"{path}{at}: there is no such folder here, and the Hugging Face hub does not give it "
            f"({_first_line(error)}). Check the name; for a private one, log in with hf auth login."
        ) from error
    return Path(folder)


def send_folder(
    write: Callable[[Path], object], repo_id: str, *, private: bool, message: str
) -> str:
    """Make a repository where there is none, upload what `write` puts into a folder; -> the
    address.

    Raises:
        MachineError: huggingface_hub is not installed, or the hub refuses.
    """
    hub = _library(f"{repo_id}: to send weights to the Hugging Face hub")
    with TemporaryDirectory() as folder:
        write(Path(folder))
        try:
            api = hub.HfApi()
            address = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        except Exception as error:
            raise MachineError(
                f"{repo_id}: the Hugging Face hub did not take the weights "
                f"({_first_line(error)}). Log in with hf auth login, and check the name."
            ) from error
    return str(address)


def _library(purpose: str) -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MachineError(f"{purpose}, huggingface_hub is needed: {INSTALL}") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
