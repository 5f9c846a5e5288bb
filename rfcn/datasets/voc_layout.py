"""Where the files of a VOC data set lie: lists of pictures, annotations and the pictures."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from rfcn.datasets.image import EXTENSIONS
from rfcn.datasets.subset import known_sets, parse_sets
from rfcn.errors import DataError

_YEAR_SET = re.compile(r"voc_(\d{4})_(.+)")
_CLASS_COLUMN = re.compile(r"\s+(-1|0|1)$")

_LAYOUT = """a folder with
  Annotations/NAME.xml
  ImageSets/Main/SET.txt   (one NAME a line)
  JPEGImages/NAME.jpg"""


@dataclass(frozen=True)
class VOCFolder:
    """One folder that holds Annotations, ImageSets and JPEGImages."""

    path: Path

    def annotation(self, name: str) -> Path:
        """The annotation file of a picture name. Raises DataError when it leaves the folder."""
        path = self.path / "Annotations" / f"{name}.xml"
        return self._inside(path, f"the name {name!r} in a list of pictures")

    def picture(self, name: str, filename: str | None, annotation: Path) -> Path | None:
        """The picture file of a name, whatever the case or kind of its extension; None without.

        The name decides, as in VOC's own tools; the annotation's <filename> only chooses between
        files of that name, or stands in where there is none (a copied annotation often keeps the
        <filename> of another picture).
        """
        if filename and Path(filename).name != filename:
            self._inside(self.path / "JPEGImages" / filename, f"<filename> in {annotation}")
        same = filename is not None and Path(filename).stem == Path(f"{name}.x").stem
        named = [filename] if filename else []
        by_name = [name + extension for extension in EXTENSIONS]
        for candidate in named + by_name if same else by_name + named:
            found = self._pictures.get(candidate.lower())
            if found is None and "/" in candidate and (self._folder / candidate).is_file():
                found = candidate
            if found is not None:
                return self._inside(self._folder / found, f"the picture {name!r}")
        return None

    @property
    def _folder(self) -> Path:
        return self.path / "JPEGImages"

    @cached_property
    def _pictures(self) -> dict[str, str]:
        """Lower-case file name -> file name."""
        if not self._folder.is_dir():
            raise DataError(
                f"{self._folder}: there is no such folder. The pictures are looked for "
                f"there; expected is {_LAYOUT}"
            )
        return {entry.name.lower(): entry.name for entry in self._folder.iterdir()}

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        """What may be read: the folder itself, and where its sub-folders may be links to."""
        parts = (self.path, self.path / "Annotations", self._folder)
        return tuple(part.resolve() for part in parts)

    def _inside(self, path: Path, source: str) -> Path:
        """`path`, if following it (and its links) stays within the folder."""
        resolved = path.resolve()
        if not any(resolved.is_relative_to(root) for root in self._roots):
            raise DataError(
                f"{source} leads to {resolved}, outside of the data folder "
                f"{self.path}. Put the file inside the folder, or mend the name."
            )
        return path


@dataclass(frozen=True)
class NamedSet:
    """The pictures of one list."""

    folder: VOCFolder
    list_file: Path
    names: list[str]
    """In the order of the list, each once."""
    repeated: int
    """Lines that repeated an earlier name."""


def read_sets(root: Path, sets: str) -> list[NamedSet]:
    """The sets of `A+B`: `voc_2007_trainval` is VOC2007/ImageSets/Main/trainval.txt below the root,
    any other NAME is ImageSets/Main/NAME.txt of the root; or parts of them (see `subset`). Raises
    DataError, saying what is there.
    """
    folders: dict[Path, VOCFolder] = {}
    found = []
    for part in parse_sets(sets):
        year = _YEAR_SET.fullmatch(part.name)
        path = root / f"VOC{year[1]}" if year else root
        folder = folders.setdefault(path, VOCFolder(path))
        one = _read_set(folder, year[2] if year else part.name, asked=part.name, root=root)
        found.append(replace(one, names=[one.names[index] for index in part.choose(one.names)]))
    return found


def _read_set(folder: VOCFolder, name: str, *, asked: str, root: Path) -> NamedSet:
    if not name or "/" in name or "\\" in name:
        raise DataError(f"{asked!r} is not the name of a set. {_available(root)}")
    list_file = folder.path / "ImageSets" / "Main" / f"{name}.txt"
    if not list_file.is_file():
        raise DataError(
            f"{list_file}: there is no such list, so the set {asked!r} cannot be read. "
            f"{_available(root)}"
        )
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{list_file}: cannot be read as UTF-8 text ({fault}).") from None
    count = Counter(_name_of(line.strip(), folder) for line in lines if line.strip())
    if not count:
        raise DataError(
            f"{list_file}: the list is empty, the set {asked!r} has 0 pictures. Write "
            "one picture name a line."
        )
    return NamedSet(folder, list_file, list(count), count.total() - len(count))


def _name_of(line: str, folder: VOCFolder) -> str:
    """The picture name of a line, which may carry the -1/0/1 column of VOC's lists of a class."""
    bare = _CLASS_COLUMN.sub("", line)
    return line if bare == line or folder.annotation(line).is_file() else bare


def _available(root: Path) -> str:
    """What the user might have meant: the sets below the root, else the layout and its contents."""
    own = [path.stem for path in root.glob("ImageSets/Main/*.txt")]
    by_year = [
        f"voc_{path.parents[2].name[3:]}_{path.stem}"
        for path in root.glob("VOC[0-9][0-9][0-9][0-9]/ImageSets/Main/*.txt")
    ]
    names = sorted(own + by_year)
    if names:
        return known_sets(root, names)
    if not root.is_dir():
        near = get_close_matches(root.name, _contents(root.parent), n=1)
        hint = f" Did you mean {root.parent / near[0]}?" if near else ""
        return f"The folder {root} does not exist.{hint} Set `data.root` to {_LAYOUT}"
    held = ", ".join(_contents(root)[:8]) or "nothing"
    return f"{root} holds {held}; expected is {_LAYOUT}\nor several such folders named VOC2007, ..."


def _contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
