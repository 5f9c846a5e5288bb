"""Where the files of a COCO data set lie: annotations by the name of their set, and pictures."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from rfcn.datasets.subset import known_sets
from rfcn.errors import DataError

_FILES = ("annotations/instances_{}.json", "annotations/{}.json", "{}/_annotations.coco.json")
"""Annotations of a set, tried in this order: COCO's own, plain, Roboflow's."""
_SPLIT = re.compile(r"(?:train|val|test)\d{4}")
"""The folder of pictures, in the name of a set such as `minival2014`."""


def annotation_file(root: Path, name: str) -> Path:
    """The file of a set. Raises DataError, naming the sets that are there."""
    if not name or name != PurePosixPath(name).name or "\\" in name:
        raise DataError(f"{name!r} is not the name of a set. {_available(root)}")
    paths = [root / form.format(name) for form in _FILES]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise DataError(f"{paths[0]}: there is no such file. {_available(root)}")
    return found


def _available(root: Path) -> str:
    """The sets below the root, else what is expected there."""
    names = []
    for form in _FILES:
        before, after = form.split("{}")
        pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
        for path in sorted(root.glob(form.format("*"))):
            match = pattern.fullmatch(path.relative_to(root).as_posix())
            if match and match[1].removeprefix("instances_") not in names:
                names.append(match[1])
    if not names:
        return (
            f"There is none in {root}: expected are annotations/instances_NAME.json and "
            "NAME/*.jpg (data/README.md)."
        )
    return known_sets(root, names)


@dataclass(frozen=True)
class PictureFolders:
    """The folders in which the pictures of a set may lie."""

    root: Path
    set_name: str

    @cached_property
    def all(self) -> tuple[Path, ...]:
        """In the order they are tried."""
        parts = (self.set_name, *_SPLIT.findall(self.set_name)[-1:])
        named = [self.root / folder for part in parts for folder in (part, f"images/{part}")]
        return (*dict.fromkeys(named), self.root / "images", self.root)

    def find(self, file_name: str) -> Path | None:
        """The picture of that name, None where there is none.

        Raises DataError for an address, and for a name (or a link) that leaves these folders.
        """
        if "://" in file_name:
            raise DataError(
                f"the picture {file_name} is an address. Download it, and name the file."
            )
        name = file_name if "\\" not in file_name else file_name.replace("\\", "/")
        for folder in self.all:
            path = folder / name
            if path.is_file():
                if path.is_symlink() or "/" in name:
                    self._check_inside(path, file_name)
                return path
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise self._outside(file_name)
        return None

    def _check_inside(self, path: Path, file_name: str) -> None:
        resolved = path.resolve()
        if not any(resolved.is_relative_to(one) for one in self._roots):
            raise self._outside(file_name)

    def _outside(self, file_name: str) -> DataError:
        return DataError(
            f"the picture {file_name} lies outside of {self.root}. Put the file inside, or mend "
            "the name."
        )

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        """What may be read: the root, and what its folders may be links to."""
        return tuple(folder.resolve() for folder in self.all)
