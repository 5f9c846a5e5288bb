"""Files from a server of our own: resumed, checked, refused."""

import hashlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rfcn import download as module
from rfcn.download import RemoteFile, download, gigabytes
from rfcn.errors import MachineError
from tests.file_server import FileServer

CONTENT = bytes(range(256)) * 40
Remote = Callable[..., RemoteFile]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def server(tmp_path: Path) -> FileServer:
    with FileServer({"set.tar": CONTENT}) as running:
        yield running


def remote(server: FileServer, name: str = "set.tar", content: bytes = CONTENT) -> RemoteFile:
    """The file as its publisher would state it."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return RemoteFile(f"{server.url}/{name}", len(content), digest, own_machine=True)


def test_a_file_is_fetched_once(server: FileServer, tmp_path: Path) -> None:
    path = download(remote(server), tmp_path / "new")
    assert path == tmp_path / "new/set.tar"
    assert path.read_bytes() == CONTENT
    assert not path.with_name("set.tar.part").exists()
    assert download(remote(server), tmp_path / "new") == path
    assert len(server.requests) == 1


def test_it_goes_on_where_the_connection_broke(server: FileServer, tmp_path: Path) -> None:
    server.breaks_after = [4_000, 1_000]
    assert download(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=4000-", "bytes=5000-"]


def test_it_goes_on_where_another_command_stopped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:123])
    assert download(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=123-"]


def test_a_server_that_cannot_resume_begins_anew(server: FileServer, tmp_path: Path) -> None:
    server.resumes = False
    (tmp_path / "set.tar.part").write_bytes(b"x" * 123)
    assert download(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_no_server(tmp_path: Path) -> None:
    with FileServer({}) as gone:
        known = remote(gone)
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    assert download(known, tmp_path).read_bytes() == CONTENT


def test_what_came_is_kept_when_the_server_stays_away(  # S3
    server: FileServer, tmp_path: Path
) -> None:
    server.breaks_after = [100] * module.ATTEMPTS
    with pytest.raises(MachineError, match=r"attempts: 5.*goes on from there.*put the file there"):
        download(remote(server), tmp_path)
    assert (tmp_path / "set.tar.part").stat().st_size == 100 * module.ATTEMPTS


def test_offline(tmp_path: Path) -> None:  # S3
    with FileServer({}) as gone:
        known = remote(gone)
    with pytest.raises(MachineError, match=r"cannot be fetched .*refused"):
        download(known, tmp_path)


def test_an_address_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:  # S3
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(MachineError, match=r"Name or service not known; attempts: 1.*yourself: "):
        download(RemoteFile("https://example.invalid/a", 1, "0"), tmp_path)


def test_a_file_that_is_not_there(server: FileServer, tmp_path: Path) -> None:  # S3
    with pytest.raises(MachineError, match="answers 404"):
        download(remote(server, "other.tar"), tmp_path)
    assert len(server.requests) == 1


def test_a_login_page_in_its_place(server: FileServer, tmp_path: Path) -> None:  # S3
    server.files["set.tar"] = b"<html>Please log in</html>"
    server.kind = "text/html"
    with pytest.raises(MachineError, match=r"sends 26 bytes \(text/html\), the file has 10240"):
        download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_content_is_deleted(server: FileServer, tmp_path: Path) -> None:  # S3
    server.files["set.tar"] = CONTENT[::-1]
    with pytest.raises(MachineError, match=r"MD5.*was deleted"):
        download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_is_checked_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(CONTENT[::-1])
    with pytest.raises(MachineError, match="MD5"):
        download(remote(server), tmp_path)


def test_a_server_without_an_end_is_cut_off(server: FileServer, tmp_path: Path) -> None:
    server.says_length = False
    server.files["set.tar"] = CONTENT * 3
    assert download(remote(server), tmp_path).stat().st_size == len(CONTENT)


@pytest.mark.parametrize("own_machine", [False, True])
@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "http://127.0.0.1.org/a"],
)
def test_only_https(url: str, own_machine: bool, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="only https"):
        download(RemoteFile(url, 1, "0", own_machine=own_machine), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_http_of_this_machine_must_be_asked_for(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="only https"):
        download(replace(remote(server), own_machine=False), tmp_path)
    assert server.requests == []


def test_redirects_keep_to_https(server: FileServer, tmp_path: Path) -> None:
    for server.redirect in ("http://example.org/set.tar", "ftp://example.org/set.tar"):
        with pytest.raises(MachineError, match=r"example.org.*only https"):
            download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_seen_before(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(MachineError, match=r"2\.0 MB are needed to fetch set.tar, 1\.0 MB are"):
        download(replace(remote(server), size=2_000_000), tmp_path)
    assert server.requests == []


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:  # S4
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"set.tar.part: cannot be written \(File exists"):
        download(remote(server), tmp_path / "file")
    assert server.requests == []


def test_several_who_want_one_file_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:  # each opens the part anew, as processes do
        found = list(pool.map(lambda _: download(remote(server), tmp_path), range(4)))
    assert {path.read_bytes() for path in found} == {CONTENT}
    assert len(server.requests) == 1


def test_a_size_that_is_rounded_and_the_beginning_of_a_hash(
    server: FileServer, tmp_path: Path
) -> None:
    size = len(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    known = RemoteFile(f"{server.url}/set.tar", size + 9, sha256[:8], "sha256", 10, True)
    assert download(known, tmp_path).read_bytes() == CONTENT
    for attempt in (replace(known, size=size + 11), replace(known, size=size - 11)):
        with pytest.raises(MachineError, match=f"sends {size} bytes"):
            download(attempt, tmp_path / "other")
    with pytest.raises(MachineError, match=f"has the SHA256 {sha256}, the published file 0123abcd"):
        download(replace(known, digest="0123abcd"), tmp_path / "other")


def test_bytes_for_people() -> None:
    assert [gigabytes(n) for n in (12_300, 460_032_000, 19_336_861_798)] == [
        "0.0 MB",
        "0.5 GB",
        "19.3 GB",
    ]
