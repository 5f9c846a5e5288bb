"""A file from the net: by https, resumed where it stopped, taken only with its size and hash.

Needs the standard library alone, and tqdm for the bar.
"""

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
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
    """Bytes; more are never written."""
    md5: str
    """Hexadecimal, as its publisher states it."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def download(remote: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there whole; a part of it is gone on with.

    It grows as NAME.part and gets its name once size and hash are right. Only https is followed,
    and http on this machine.

    Raises:
        MachineError: no connection after several attempts, no such file, another size or hash, no
            room on the disk. What was fetched stays, unless it is wrong.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.is_file() and target.stat().st_size == remote.size:
        _check_hash(target, remote)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    present = part.stat().st_size if part.is_file() else 0
    check_room(folder, remote.size - present, f"fetch {remote.name}")
    _fetch(remote, part)
    _check_hash(part, remote)
    part.replace(target)
    return target


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
        else:
            if part.stat().st_size == remote.size:
                return
            trouble = "the connection ended early"
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE * 2**attempt)
    raise MachineError(
        f"{remote.url}: cannot be fetched ({trouble}; {ATTEMPTS} attempts). What came so far is "
        f"kept: the same command goes on from there. {_by_hand(part)}"
    )


def _go_on(remote: RemoteFile, part: Path) -> None:
    """One connection: append to `part` what is missing, as far as it comes."""
    present = part.stat().st_size if part.is_file() else 0
    if present >= remote.size:
        return
    request = urllib.request.Request(remote.url, headers={"User-Agent": "rfcn"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    _check_scheme(remote.url)
    with _OPENER.open(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        whole = int(length) + (present if resumed else 0) if length else remote.size
        if whole != remote.size:
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
        while file.tell() < remote.size:
            chunk = answer.read(min(_CHUNK, remote.size - file.tell()))
            if not chunk:
                return
            file.write(chunk)
            bar.update(len(chunk))


def _check_hash(path: Path, remote: RemoteFile) -> None:
    """Delete a file whose content is not the published one, and raise MachineError."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, _bar(remote, f"checking {remote.name}") as bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != remote.md5:
        path.unlink()
        raise MachineError(
            f"{remote.url}: what was fetched has the MD5 {digest.hexdigest()}, the published file "
            f"{remote.md5}. It was deleted; give the same command again, or use another mirror."
        )


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


def _check_scheme(url: str) -> None:
    address = urlsplit(url)
    if address.scheme != "https" and not (
        address.scheme == "http" and address.hostname in _OWN_MACHINE
    ):
        raise MachineError(f"{url}: only https is fetched from other machines.")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server's hint to another address by the same rule."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)
