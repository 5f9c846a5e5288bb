"""Small archives of the same shape as the published ones, from a server of our own."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rfcn.datasets.coco import COCODataset
from rfcn.datasets.published_sets import PUBLISHED, PublishedSet, at_mirror, fetch
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError, MachineError
from tests.datasets.small_archives import coco2017, voc2007
from tests.file_server import FileServer


def shrunk(name: str, files: dict[str, bytes], pictures: dict[str, int], url: str) -> PublishedSet:
    """A published set as if it were so small, at a mirror."""
    archives = tuple(
        replace(
            one,
            size=len(files[one.name]),
            digest=hashlib.md5(files[one.name], usedforsecurity=False).hexdigest(),
        )
        for one in PUBLISHED[name].archives
    )
    return at_mirror(replace(PUBLISHED[name], archives=archives, pictures=pictures), f"{url}/")


@pytest.fixture
def voc() -> Iterator[tuple[FileServer, PublishedSet]]:
    """VOC 2007 with three pictures, and its server."""
    files = voc2007()
    with FileServer(files) as server:
        yield server, shrunk("voc2007", files, {"VOCdevkit/VOC2007/JPEGImages": 3}, server.url)


def test_voc_is_laid_out_as_the_configs_expect(
    voc: tuple[FileServer, PublishedSet], tmp_path: Path
) -> None:
    server, published = voc
    said: list[str] = []
    assert fetch(published, tmp_path, say=said.append) == tmp_path
    assert len(VOCDataset(tmp_path / "VOCdevkit", "voc_2007_trainval")) == 2
    assert len(VOCDataset(tmp_path / "VOCdevkit", "voc_2007_test")) == 1
    assert not list(tmp_path.glob("*.tar"))
    assert said[1].startswith("VOCtrainval_06-Nov-2007.tar: 5 files")

    asked = len(server.requests)
    fetch(published, tmp_path, say=said.append)
    assert len(server.requests) == asked
    assert said[-1] == "VOCtest_06-Nov-2007.tar: unpacked before"


def test_coco_is_laid_out_as_the_configs_expect(tmp_path: Path) -> None:
    files = coco2017()
    with FileServer(files) as server:
        published = shrunk("coco2017", files, {"train2017": 2, "val2017": 1}, server.url)
        assert fetch(published, tmp_path, keep_archives=True) == tmp_path / "coco"
    assert len(COCODataset(tmp_path / "coco", "train2017")) == 2
    assert len(COCODataset(tmp_path / "coco", "val2017")) == 1
    assert (tmp_path / "coco/train2017.zip").read_bytes() == files["train2017.zip"]


def test_a_fetching_that_broke_off_goes_on(
    voc: tuple[FileServer, PublishedSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rfcn.download.PAUSE", 0.0)
    server, published = voc
    whole = server.files.pop("VOCtest_06-Nov-2007.tar")
    with pytest.raises(MachineError, match="404"):
        fetch(published, tmp_path)
    server.files["VOCtest_06-Nov-2007.tar"] = whole
    server.requests.clear()
    fetch(published, tmp_path)
    assert len(server.requests) == 1
    assert len(VOCDataset(tmp_path / "VOCdevkit", "voc_2007_test")) == 1


def test_pictures_that_are_missing_in_the_end_are_counted(
    voc: tuple[FileServer, PublishedSet], tmp_path: Path
) -> None:
    _, published = voc
    fetch(published, tmp_path)
    pictures = tmp_path / "VOCdevkit/VOC2007/JPEGImages"
    next(pictures.iterdir()).unlink()
    with pytest.raises(DataError, match="2 of 3 pictures are there"):
        fetch(published, tmp_path)
    for marker in tmp_path.glob(".*.unpacked"):
        marker.unlink()
    fetch(published, tmp_path)
    assert len(list(pictures.iterdir())) == 3


def test_what_is_published_is_complete() -> None:
    for one in PUBLISHED.values():
        assert one.unpacked > one.fetched * 0.95
        assert all(archive.url.startswith("https://") for archive in one.archives)
        assert all(re.fullmatch("[0-9a-f]{32}", archive.digest) for archive in one.archives)
        assert len({archive.digest for archive in one.archives}) == len(one.archives)
