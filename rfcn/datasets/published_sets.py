"""The public data sets of the paper: where their archives are, how large, and what is in them.

Addresses, sizes and MD5 sums are those that the publishers' servers give and that torchvision (VOC)
and COCO's users state; both sets are photos from Flickr under terms of their own
(host.robots.ox.ac.uk/pascal/VOC, cocodataset.org).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rfcn.datasets.archives import unpack
from rfcn.download import RemoteFile, check_room, download, gigabytes
from rfcn.errors import DataError

_VOC = "https://thor.robots.ox.ac.uk/pascal/VOC"
_COCO = "https://s3.amazonaws.com/images.cocodataset.org"
_SWELL = 5
"""An archive's files together are at most so many times as large as it (JSON shrinks to a
quarter)."""


@dataclass(frozen=True)
class PublishedSet:
    """A data set as its publisher gives it away."""

    title: str
    folder: str
    """Below the folder of all data: that the archives are unpacked to."""
    archives: tuple[RemoteFile, ...]
    unpacked: int
    """Bytes on the disk when all is unpacked, roughly."""
    pictures: Mapping[str, int]
    """How many files there are in which folder, in the end."""

    @property
    def fetched(self) -> int:
        """Bytes that come over the net."""
        return sum(one.size for one in self.archives)


PUBLISHED = {
    "voc2007": PublishedSet(
        "PASCAL VOC 2007, trainval and test",
        folder="",
        archives=(
            RemoteFile(
                f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
                460_032_000,
                "c52e279531787c972589f7e41ab4ae64",
            ),
            RemoteFile(
                f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
                451_020_800,
                "b6e924de25625d8de591ea690078ad9f",
            ),
        ),
        unpacked=950_000_000,
        pictures={"VOCdevkit/VOC2007/JPEGImages": 9_963},
    ),
    "voc2012": PublishedSet(
        "PASCAL VOC 2012, trainval",
        folder="",
        archives=(
            RemoteFile(
                f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
                1_999_639_040,
                "6cd6e144f989b92b3379bac3b3de84fd",
            ),
        ),
        unpacked=2_050_000_000,
        pictures={"VOCdevkit/VOC2012/JPEGImages": 17_125},
    ),
    "coco2017": PublishedSet(
        "COCO 2017, train and val",
        folder="coco",
        archives=(
            RemoteFile(
                f"{_COCO}/annotations/annotations_trainval2017.zip",
                252_907_541,
                "f4bbac642086de4f52a3fdda2de5fa2c",
            ),
            RemoteFile(
                f"{_COCO}/zips/val2017.zip", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80"
            ),
            RemoteFile(
                f"{_COCO}/zips/train2017.zip", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2"
            ),
        ),
        unpacked=21_100_000_000,
        pictures={"train2017": 118_287, "val2017": 5_000},
    ),
    "coco2014": PublishedSet(
        "COCO 2014, train and val (the paper's table 6)",
        folder="coco",
        archives=(
            RemoteFile(
                f"{_COCO}/annotations/annotations_trainval2014.zip",
                252_872_794,
                "0a379cfc70b0e71301e0f377548639bd",
            ),
            RemoteFile(
                f"{_COCO}/zips/val2014.zip", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3"
            ),
            RemoteFile(
                f"{_COCO}/zips/train2014.zip", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88"
            ),
        ),
        unpacked=21_100_000_000,
        pictures={"train2014": 82_783, "val2014": 40_504},
    ),
}


def at_mirror(published: PublishedSet, base: str) -> PublishedSet:
    """The same set with its archives side by side under another address, perhaps of this machine.
    What they must be stays the same."""
    archives = tuple(
        replace(one, url=f"{base.rstrip('/')}/{one.name}", own_machine=True)
        for one in published.archives
    )
    return replace(published, archives=archives)


def fetch(
    published: PublishedSet,
    root: Path,
    *,
    keep_archives: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """A published set below the folder of all data; at once if it is there whole.

    Each archive is fetched, checked, unpacked and deleted, one after another; what was stopped goes
    on where it was. Returns the folder the archives were unpacked to.

    Raises:
        MachineError: as `rfcn.download.download`. DataError: as `rfcn.datasets.archives.unpack`, or
            pictures are missing in the end.
    """
    folder = root / published.folder
    for archive in published.archives:
        done = folder / f".{archive.name}.unpacked"
        if done.is_file():
            say(f"{archive.name}: unpacked before")
            continue
        say(f"{archive.name}: {gigabytes(archive.size)} from {archive.url}")
        path = download(archive, folder)
        check_room(folder, archive.size, f"unpack {archive.name}")
        files = unpack(path, folder, most_bytes=_SWELL * archive.size)
        say(f"{archive.name}: {len(files)} files are in {folder}")
        done.touch()
        if not keep_archives:
            path.unlink()
    _check_pictures(published, folder)
    return folder


def _check_pictures(published: PublishedSet, folder: Path) -> None:
    for name, expected in published.pictures.items():
        place = folder / name
        found = sum(1 for _ in place.iterdir()) if place.is_dir() else 0
        if found < expected:
            raise DataError(
                f"{place}: {found} of {expected} pictures are there. Delete the files "
                f".*.unpacked in {folder} and give the command again: only what is missing is "
                "written."
            )
