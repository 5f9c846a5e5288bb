"""Archives: what is unpacked, and what is refused."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.datasets.archives import unpack
from rfcn.errors import DataError

FILES = {"VOC/a.xml": b"<a/>", "VOC/pictures/a.jpg": b"1234567890"}
Pack = Callable[[Path, dict[str, bytes]], Path]


def packed_tar(folder: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path = folder / "set.tar"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def packed_gz(folder: Path, files: dict[str, bytes]) -> Path:
    return packed_tar(folder, files, "w:gz")


def packed_zip(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("VOC")
        for name, content in files.items():
            file.writestr(name, content)
    return path


PACKERS = pytest.mark.parametrize("pack", [packed_tar, packed_gz, packed_zip])


@PACKERS
def test_all_files_come_out(pack: Pack, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = unpack(pack(tmp_path, FILES), out, most_bytes=100)
    assert written == [out / name for name in FILES]
    assert {name: (out / name).read_bytes() for name in FILES} == FILES


@PACKERS
def test_it_goes_on_where_it_stopped(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, FILES)
    out = tmp_path / "out"
    (out / "VOC/pictures").mkdir(parents=True)
    (out / "VOC/a.xml").write_bytes(b"mine")  # of the right size: left alone
    (out / "VOC/pictures/a.jpg").write_bytes(b"123")
    unpack(archive, out, most_bytes=100)
    assert (out / "VOC/a.xml").read_bytes() == b"mine"
    assert (out / "VOC/pictures/a.jpg").read_bytes() == b"1234567890"
    assert not list(out.rglob("*.part"))


@PACKERS
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "C:\\evil", "a\\..\\..\\evil"]
)
def test_members_that_lead_out_are_refused(pack: Pack, name: str, tmp_path: Path) -> None:  # S5
    archive = pack(tmp_path, {"good": b"1", name: b"2"})
    with pytest.raises(DataError, match="leads out of the folder"):
        unpack(archive, tmp_path / "inner/out", most_bytes=100)
    assert not (tmp_path / "inner").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:  # S5
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(DataError, match="link or a device"):
        unpack(path, tmp_path / "out", most_bytes=100)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:  # S5
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="link or a device"):
        unpack(path, tmp_path / "out", most_bytes=100)


@PACKERS
def test_bombs_are_refused_before_they_go_off(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"zeros": bytes(1_000_000)})
    with pytest.raises(DataError, match="1000000 bytes, at most 999999"):
        unpack(archive, tmp_path / "out", most_bytes=999_999)
    assert not (tmp_path / "out").exists()


@PACKERS
def test_damaged_archives(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"noise": bytes(i * i % 251 for i in range(50_000))})
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"set\.\w+: the archive is damaged"):
        unpack(archive, tmp_path / "out", most_bytes=10**6)
