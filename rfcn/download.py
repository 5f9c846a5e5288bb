"""A file from the net: by https, resumed where it stopped, taken only with its size and hash.

Needs the standard library alone, and tqdm for the bar.
"""

import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from rfcn.errors import MachineError

ATTEMPTS = 5
"""Connections to try before giving up; each goes on where the last one broke off."""
PAUSE = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as broken."""
_CHUNK = 1 << 20
_OWN_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class RemoteFile:
    """A file that is known before it is fetched."""

    url: str
    size: int
    """Bytes; more (and `slack`) are never written."""
    digest: str
    """Hexadecimal, as its publisher states it: all of it, or its first characters."""
    algorithm: Literal["md5", "sha256"] = "md5"
    """What the digest was made by."""
    slack: int = 0
    """Bytes by which the stated size may be off, where a publisher rounds it."""
    own_machine: bool = False
    """Whether it may come by http from this very machine: a mirror somebody named, a test. From all
    others, and without this, only https is followed, redirected or not."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    def has_size(self, count: int) -> bool:
        """Whether the file can have so many bytes."""
        return abs(count - self.size) <= self.slack


def download(remote: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there whole; a part of it is gone on with.

    It grows as NAME.part and gets its name once size and hash are right. Of several processes that
    want the same file one fetches it, and the others wait for that.

    Raises:
        MachineError: an address that is not followed, no connection after several attempts, no such
            file, another size or hash, no room on the disk, or the folder cannot be written. What
            was fetched stays to be gone on with, unless it is wrong.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if _is_there(target, remote):
        return target
    _check_scheme(remote.url, remote)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_with(part):
            if not _is_there(target, remote):
                check_room(folder, remote.size - part.stat().st_size, f"fetch {remote.name}")
                _fetch(remote, part)
                _check_hash(part, remote)
                part.replace(target)
    except OSError as fault:
        raise MachineError(
            f"{part}: cannot be written ({fault.strerror}). Name a folder you may write to."
        ) from None
    return target


def _is_there(target: Path, remote: RemoteFile) -> bool:
    """Whether the file is there whole; one of that size and other content is deleted, and an
    error."""
    if not (target.is_file() and remote.has_size(target.stat().st_size)):
        return False
    _check_hash(target, remote)
    return True


@contextmanager
def _alone_with(part: Path) -> Iterator[None]:
    """Hold a part, made empty where there is none. The system frees it however the process ends."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not (part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat())):
                continue  # who had it has finished with it
            try:
                yield
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
            return


def check_room(folder: Path, needed: int, purpose: str) -> None:
    """Raises MachineError where the disk of a folder has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MachineError(
            f"{folder}: {gigabytes(needed)} are needed to {purpose}, {gigabytes(free)} are free. "
            "Make room, or name a folder on a larger disk."
        )


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _fetch(remote: RemoteFile, part: Path) -> None:
    """Bring `part` to its full size, over as many connections as it takes."""
    for attempt in range(ATTEMPTS):
        try:
            _go_on(remote, part)
        except urllib.error.HTTPError as fault:
            raise MachineError(
                f"{remote.url}: the server answers {fault.code} ({fault.reason}). {_by_hand(part)}"
            ) from None
        except (OSError, http.client.HTTPException) as fault:  # URLError is an OSError
            trouble = getattr(fault, "reason", None) or fault
            if isinstance(trouble, socket.gaierror):  # offline: waiting would not help
                break
        else:
            if remote.has_size(part.stat().st_size):
                return
            trouble = "the connection ended early"
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE * 2**attempt)
    raise MachineError(
        f"{remote.url}: cannot be fetched ({trouble}; attempts: {attempt + 1}). What came so far "
        f"is kept: the same command goes on from there. {_by_hand(part)}"
    )


def _go_on(remote: RemoteFile, part: Path) -> None:
    """One connection: append to `part` what is missing, as far as it comes."""
    present = part.stat().st_size if part.is_file() else 0
    if present >= remote.size - remote.slack:
        return
    request = urllib.request.Request(remote.url, headers={"User-Agent": "rfcn"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    opener = urllib.request.build_opener(_SafeRedirects(remote))
    with opener.open(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        whole = int(length) + (present if resumed else 0) if length else remote.size
        if not remote.has_size(whole):
            kind = answer.headers.get_content_type()
            raise MachineError(
                f"{remote.url}: the server sends {whole} bytes ({kind}), the file has "
                f"{remote.size}. A proxy or a login page may answer in its place. {_by_hand(part)}"
            )
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, remote)


def _copy(answer: BinaryIO, file: BinaryIO, remote: RemoteFile) -> None:
    """Write what comes, up to the size that the file may have."""
    with _bar(remote, f"fetching {remote.name}", start=file.tell()) as bar:
        most = remote.size + remote.slack
        while file.tell() < most:
            chunk = answer.read(min(_CHUNK, most - file.tell()))
            if not chunk:
                return
            file.write(chunk)
            bar.update(len(chunk))


def _check_hash(path: Path, remote: RemoteFile) -> None:
    """Delete a file whose content is not the published one, and raise MachineError."""
    found = digest_of(path, remote)
    if not found.startswith(remote.digest):
        path.unlink()
        raise MachineError(
            f"{remote.url}: what was fetched has the {remote.algorithm.upper()} {found}, the "
            f"published file {remote.digest}. It was deleted; give the same command again, or use "
            "another mirror."
        )


def digest_of(path: Path, remote: RemoteFile) -> str:
    """The digest of a file, by the algorithm of the published one."""
    digest = hashlib.new(remote.algorithm, usedforsecurity=False)
    with path.open("rb") as file, _bar(remote, f"checking {remote.name}") as bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


@contextmanager
def _bar(remote: RemoteFile, title: str, *, start: int = 0) -> Iterator:
    """A bar of bytes, on a terminal only."""
    from tqdm import tqdm

    with tqdm(
        desc=title, total=remote.size, initial=start, unit="B", unit_scale=True, disable=None
    ) as bar:
        yield bar


def _by_hand(part: Path) -> str:
    name = part.name.removesuffix(".part")
    return f"You can also put the file there yourself: {part.with_name(name)}"


def _check_scheme(url: str, remote: RemoteFile) -> None:
    address = urlsplit(url)
    by_itself = address.scheme == "http" and address.hostname in _OWN_MACHINE
    if address.scheme != "https" and not (by_itself and remote.own_machine):
        raise MachineError(f"{url}: only https is followed. Name an address that begins with it.")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server's hint to another address by the same rule."""

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check_scheme(newurl, self.remote)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
