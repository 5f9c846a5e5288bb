"""A file is either there, whole, or not there: never half of it."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rfcn.errors import MachineError

SUFFIX = ".tmp"


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    check: Callable[[Path], object] = lambda path: None,
) -> None:
    """Write `path` through a temporary file beside it, so that a crash leaves the old one intact.

    Args:
        write: writes the content into an open binary file.
        check: re-opens the temporary file, safe on disk by then, and raises if it is not good.

    Raises:
        MachineError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(path.name + SUFFIX)
    try:
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            check(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):  # torch.save raises its own error on top of a full disk
            raise
        raise MachineError(_explain(path, cause)) from error


def make_folder(folder: Path) -> None:
    """Make `folder` and the folders above it, where they are missing.

    Raises:
        MachineError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"the folder {folder} cannot be made: {error.strerror}. Name one you may write to."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> list[Path]:
    """Delete what killed writers left in `folder` and below it; returns what was deleted."""
    leftovers = sorted(path for path in folder.rglob(f"*{SUFFIX}") if path.is_file())
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return leftovers


def _explain(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            room = f"{shutil.disk_usage(path.parent).free:,} bytes are free"
        except OSError:
            room = "the free space is unknown"
        why = (
            f"the disk is full or a quota is reached ({room}). Make room, or choose another folder"
        )
    else:
        why = f"{error.strerror or error}. Choose a folder that can be written"
    return f"{path} could not be written: {why}. What was there before is untouched."
