"""Where the files of a YOLO data set lie: pictures by the name of their set, labels beside them,
and the names of the classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rfcn.datasets.image import EXTENSIONS
from rfcn.datasets.subset import known_sets
from rfcn.errors import DataError

_DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAME_FILES = ("classes.txt", "obj.names")
_LAYOUT = """a folder with
  images/SET/NAME.jpg
  labels/SET/NAME.txt   (a line an object: class, centre x, centre y, width, height, as fractions)
  data.yaml with `names`, or classes.txt"""
MAX_BYTES = 16_000_000
"""Of a description, a list or a file of labels."""


@dataclass(frozen=True)
class ListedPicture:
    """One picture of a set."""

    name: str
    """Its path below the folder of the set, or below the root, without suffix."""
    path: Path
    labels: Path
    """Where its labels lie, if it has any."""


@dataclass(frozen=True)
class YOLOFolder:
    """The folder of a data set, and what its description says."""

    root: Path
    description: Mapping[str, Any]
    """Of data.yaml; empty where there is none."""
    description_file: Path | None

    def class_names(self) -> tuple[str, ...] | None:
        """The names by their numbers, from the description or from classes.txt; None without."""
        names = self.description.get("names")
        if names is not None:
            return _checked(names, self.description_file or self.root)
        file = next((path for one in _NAME_FILES if (path := self.root / one).is_file()), None)
        return None if file is None else _checked(_lines(file), file)

    def pictures(self, name: str) -> list[ListedPicture]:
        """The pictures of a set, in the order of their names, or of the list that names them.

        Raises DataError when there is no such set, when it is empty or leads outside of the root.
        """
        found = [one for place in self._places(name) for one in self._listed(place)]
        if not found:
            raise DataError(f"{self.root}: the set {name!r} has 0 pictures. {self._available()}")
        return found

    def _places(self, name: str) -> list[Path]:
        """Folders and lists that make up a set: as the description says, else by its name."""
        if not name or name != Path(name).name or "\\" in name:
            raise DataError(f"{name!r} is not the name of a set. {self._available()}")
        said = self.description.get(name)
        if said:
            texts = said if isinstance(said, list) else [said]
            return [self._described(text, name) for text in texts]
        forms = (f"images/{name}", f"{name}/images", f"{name}.txt")
        place = next((path for form in forms if (path := self.root / form).exists()), None)
        if place is None:
            raise DataError(
                f"{self.root / forms[0]}: there is no such folder, so the set {name!r} cannot be "
                f"read. {self._available()}"
            )
        return [place]

    def _described(self, text: object, name: str) -> Path:
        """A place that the description names, which counts from its `path`, and that from here;
        a leading ../ that leads nowhere is dropped (Roboflow writes one too many)."""
        if not isinstance(text, str):
            raise DataError(f"{self.description_file}: `{name}` must be a path, or a list of them.")
        folder = self.description.get("path")
        base = self.root / (folder if isinstance(folder, str) else "")
        bare = text.removeprefix("../").removeprefix("./")
        for path in (base / text, self.root / text, self.root / bare):
            if path.exists() and self._is_inside(path):
                return path
        raise DataError(
            f"{self.description_file}: `{name}: {text}` is not to be found below {self.root}. "
            "Mend the path, or move the data there."
        )

    def _is_inside(self, path: Path) -> bool:
        """Whether a path, its links followed, stays below the root, or where `images` links to."""
        roots = (self.root.resolve(), (self.root / "images").resolve())
        return any(path.resolve().is_relative_to(root) for root in roots)

    def _listed(self, place: Path) -> list[ListedPicture]:
        """The pictures of a folder (and the folders in it), or of a text file."""
        if place.is_dir():
            below = place
            paths = sorted(one for one in place.rglob("*") if one.suffix.lower() in EXTENSIONS)
        else:
            below = self.root
            paths = [self.root / line for line in _lines(place)]
        found = []
        for path in paths:
            plain = place.is_dir() and not path.is_symlink()  # it lies where it was found
            if not plain and not self._is_inside(path):
                raise DataError(
                    f"{place}: the picture {path} lies outside of {self.root}. Put it inside, or "
                    "take it out of the set."
                )
            found.append(ListedPicture(_bare(path, below), path, labels_of(path)))
        return found

    def _available(self) -> str:
        """The sets that there are, else what is expected."""
        named = [name for name in ("train", "val", "test") if self.description.get(name)]
        for folder in sorted((self.root / "images").glob("*")):
            named += [folder.name] * folder.is_dir()
        named += [folder.parent.name for folder in sorted(self.root.glob("*/images"))]
        named += [file.stem for file in sorted(self.root.glob("*.txt")) if file.name not in _NAMES]
        names = list(dict.fromkeys(named))
        return known_sets(self.root, names) if names else f"Expected is {_LAYOUT}"


_NAMES = frozenset((*_NAME_FILES, "requirements.txt"))


def read_folder(root: Path) -> YOLOFolder:
    """The folder of a data set. Raises DataError when it or its description cannot be read."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder. Set `data.root` to {_LAYOUT}")
    file = next((path for one in _DESCRIPTIONS if (path := root / one).is_file()), None)
    if file is None:
        return YOLOFolder(root, {}, None)
    try:
        content = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, RecursionError) as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise DataError(f"{file}{where}: not valid YAML. Mend it.") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected `names`, `train` and `val`, found something else.")
    return YOLOFolder(root, content, file)


def labels_of(path: Path) -> Path:
    """Where the labels of a picture lie: the last folder `images` becomes `labels`."""
    parts = list(path.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_name(f"{path.stem}.txt")


def read_text(path: Path) -> str:
    """A text file. Raises DataError when it is too large, cannot be read or is not UTF-8."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB. Restore the file.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror}).") from None
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: not UTF-8 text ({fault}). Convert or restore it.") from None
    if "\0" in text:
        raise DataError(f"{path}: not text, it holds zeros. Restore the file.")
    return text


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _bare(path: Path, folder: Path) -> str:
    """The path below a folder, without suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _checked(names: Any, file: Path) -> tuple[str, ...]:
    """Names of classes by their numbers: a list, or a mapping of 0, 1, ... to names."""
    if isinstance(names, dict):
        missing = [number for number in range(len(names)) if number not in names]
        if missing:
            raise DataError(
                f"{file}: `names` has {len(names)} classes but none of number {missing[0]}. "
                "Number them 0, 1, 2, ..."
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise DataError(f"{file}: `names` must be a list of classes, or number: name.")
    for name in names:
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            found = f"a {type(name).__name__}" if isinstance(name, list | dict) else repr(name)[:40]
            raise DataError(  # a list of aliases of lists can be endless when it is written out
                f"{file}: {found} is no name of a class. Write text, in quotes where it is yes or "
                "no."
            )
    texts = tuple(str(name).strip() for name in names)
    twice = [name for name, times in Counter(texts).items() if times > 1]
    if twice:
        raise DataError(f"{file}: the class {twice[0]!r} comes twice. List each name once.")
    return texts
