"""Archives of data sets, unpacked so that nothing lands outside of its folder."""

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from tqdm import tqdm

from rfcn.errors import DataError


class Member(NamedTuple):
    """A file of an archive."""

    path: str
    size: int
    """Bytes, unpacked."""
    ordinary: bool
    """Whether it is a file, and no link or device."""
    handle: tarfile.TarInfo | zipfile.ZipInfo


def unpack(archive: Path, folder: Path, *, most_bytes: int) -> list[Path]:
    """The files of a .tar (compressed or not) or .zip, below `folder`.

    Files that are there with their size are left alone, so an unpacking that was stopped goes on.
    most_bytes: that all files together may have.

    Raises:
        DataError: the archive is damaged; a member is a link or a device, or its path leaves the
            folder; the files are larger than they may be. In all but the first case nothing is
            written.
    """
    try:
        with _opened(archive) as (members, read):
            _check(members, archive, most_bytes)
            written = []
            for member in tqdm(members, f"unpacking {archive.name}", unit="file", disable=None):
                target = folder / member.path
                if not (target.is_file() and target.stat().st_size == member.size):
                    _write(target, read(member.handle))
                written.append(target)
            return written
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as fault:
        raise DataError(
            f"{archive}: the archive is damaged ({fault}). Delete it and fetch it again."
        ) from None


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[Member], Callable[[Any], IO[bytes] | None]]]:
    """What is in an archive, and how a member is read."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            inside = [_of_zip(one) for one in zipped.infolist() if not one.is_dir()]
            yield inside, zipped.open
    else:
        with tarfile.open(archive) as tar:
            inside = [
                Member(one.name, one.size, one.isfile(), one)
                for one in tar.getmembers()
                if not one.isdir()
            ]
            yield inside, tar.extractfile


def _of_zip(one: zipfile.ZipInfo) -> Member:
    mode = one.external_attr >> 16  # Unix's; 0 where another system made the archive
    return Member(one.filename, one.file_size, stat.S_IFMT(mode) in (0, stat.S_IFREG), one)


def _check(members: Sequence[Member], archive: Path, most_bytes: int) -> None:
    for one in members:
        path = PurePosixPath(one.path.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            fault = f"the member {one.path!r} leads out of the folder"
        elif not one.ordinary:
            fault = f"the member {one.path!r} is a link or a device"
        else:
            continue
        raise DataError(f"{archive}: {fault}. Nothing was unpacked; take another source.")
    total = sum(one.size for one in members)
    if total > most_bytes:
        raise DataError(
            f"{archive}: unpacked it has {total} bytes, at most {most_bytes} are expected. Nothing "
            "was unpacked; take another source."
        )


def _write(target: Path, source: IO[bytes] | None) -> None:
    """A file under its name only when it is whole."""
    assert source is not None  # an ordinary file can be read
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with source, part.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    part.replace(target)
