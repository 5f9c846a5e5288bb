"""One VOC annotation file to plain numbers, as found in the wild rather than as specified."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from rfcn.datasets.findings import Findings
from rfcn.errors import DataError

MAX_BYTES = 16_000_000
"""Of a file; one object takes about 300."""
MAX_DEPTH = 16
"""Of nested tags; VOC itself uses 5."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Object:
    """One object as written in the file."""

    number: int
    """Its place among the objects of the file, from 1."""
    name: str
    corners: Corners
    """(xmin, ymin, xmax, ymax) as in the file: 1-based, xmax and ymax inside the box."""
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """What a file says of its picture."""

    filename: str | None
    size: tuple[int, int] | None
    """(height, width) as the file claims."""
    objects: list[Object]


def read_annotation(path: Path, findings: Findings | None = None) -> Annotation:
    """The objects of one file. Raises DataError naming file, line or object, and tag; with tolerant
    `findings` an object that cannot be understood becomes one, and the others are read.

    Coordinates may be fractions and in any order; `difficult` may be missing (0), `pose` and
    `truncated` are not read; the boxes of nested <part>s are not objects; namespaces and the case
    of the root tag do not matter; white space around a name does not belong to it.
    """
    findings = Findings() if findings is None else findings
    root = _parse(path, _read_bytes(path))
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        with findings.survived(path, object=number):
            objects.append(_object(element, number, f"{path}: object {number}"))
    return Annotation(_text(root, "filename"), _size(root), objects)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path}: larger than {MAX_BYTES // 1_000_000} MB, which no annotation "
                "of one picture is. Restore the file."
            )
        return path.read_bytes()
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror}).") from None


def _parse(path: Path, content: bytes) -> Element:
    """The root element, tags without namespaces, nothing nested too deeply."""
    try:
        root = fromstring(_decodable(content), forbid_dtd=True)
    except DefusedXmlException:
        raise DataError(
            f"{path}: a document type (DTD) or an entity is declared, which is not "
            "allowed here. Delete its <!DOCTYPE ...>."
        ) from None
    except ParseError as fault:
        line, column = fault.position
        reason = str(fault).partition(": line")[0]
        raise DataError(
            f"{path}:{line}:{column + 1}: not valid XML, {reason}. {_remedy(content)}"
        ) from None
    except (LookupError, ValueError) as fault:
        raise DataError(
            f"{path}: cannot be decoded ({fault}). Convert it to UTF-8 "
            "(iconv -t utf-8) and declare that in its first line."
        ) from None
    _check_depth(root, path)
    if "}" in root.tag:
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    if root.tag.lower() != "annotation":
        raise DataError(
            f"{path}: the root tag is <{root.tag}>, in VOC it is <annotation>. Convert "
            "the file, or take its picture off the list."
        )
    return root


def _decodable(content: bytes) -> bytes | str:
    """The content as the parser can take it, which knows no encoding of several bytes but UTF."""
    declared = re.match(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["'][^>]*\?>""", content)
    if not declared:
        return content
    encoding = declared[1].decode("ascii").lower()
    if encoding.startswith(("utf", "iso-8859", "us-ascii")):
        return content
    return content[declared.end() :].decode(encoding)


def _remedy(content: bytes) -> str:
    if not content.strip():
        return "The file is empty. Restore it, or take its picture off the list."
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return (
            "It declares no encoding and is not UTF-8: convert it (for example "
            "iconv -f latin1 -t utf-8) or declare its encoding in the first line."
        )
    return "Mend or restore the file (a bare & is written &amp;)."


def _check_depth(root: Element, path: Path) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise DataError(f"{path}: tags are nested more than {MAX_DEPTH} deep. Restore the file.")


def _size(root: Element) -> tuple[int, int] | None:
    """The claimed size, for comparison only: None where it is missing or senseless."""
    try:
        height, width = (
            int(float(root.findtext(f"size/{key}", ""))) for key in ("height", "width")
        )
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _object(element: Element, number: int, where: str) -> Object:
    name = _text(element, "name")
    if not name:
        raise DataError(f"{where}: <name> is missing or empty. Name the object's class.")
    where = f"{where} ({name})"
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where}: <bndbox> is missing. Add the box or delete the object.")
    return Object(
        number=number,
        name=name,
        corners=(
            _coordinate(box, "xmin", where),
            _coordinate(box, "ymin", where),
            _coordinate(box, "xmax", where),
            _coordinate(box, "ymax", where),
        ),
        difficult=_flag(element, "difficult", where),
    )


def _coordinate(box: Element, tag: str, where: str) -> float:
    text = _text(box, tag)
    if not text:
        raise DataError(f"{where}: <{tag}> is missing or empty. Write the coordinate in pixels.")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{where}: <{tag}> is {text!r}, not a number. Write it in pixels, with a "
            "point for fractions."
        )
    return value


def _flag(element: Element, tag: str, where: str) -> bool:
    text = (_text(element, tag) or "0").lower()
    if text in ("0", "false", "no"):
        return False
    if text in ("1", "true", "yes"):
        return True
    raise DataError(f"{where}: <{tag}> is {text!r}. Write 0 or 1.")


def _text(element: Element, tag: str) -> str | None:
    """The text of a child, bare of white space; None when there is no such child."""
    text = element.findtext(tag)
    return None if text is None else text.strip()
