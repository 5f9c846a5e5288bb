import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.datasets.findings import BROKEN, Findings
from rfcn.datasets.voc_xml import MAX_BYTES, Annotation, read_annotation
from rfcn.errors import DataError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], Annotation]:
    """Reads an annotation file of this content."""

    def write_and_read(content: str | bytes) -> Annotation:
        path = tmp_path / "a.xml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_annotation(path)

    return write_and_read


def _one(inner: str, *, root: str = "annotation") -> str:
    return f"<{root}><object>{inner}</object></{root}>"


def test_all_fields(read: Callable[..., Annotation]) -> None:
    found = read(
        "<annotation><filename> x.jpg </filename><size><width>40</width><height>30</height></size>"
        f"<object><name>cat</name><difficult>1</difficult>{BOX}</object></annotation>"
    )
    assert found.filename == "x.jpg"
    assert found.size == (30, 40)
    assert [(o.name, o.corners, o.difficult) for o in found.objects] == [
        ("cat", (1, 2, 3, 4), True)
    ]


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("<annotation>\n<object>", "a.xml:2:9", "not valid XML"),
        ("", "a.xml:1:1", "empty"),
        ("\n\n", "a.xml:3:1", "empty"),
        ("cat 1 2 3 4", "a.xml:1:1", "not valid XML"),
        ("<annotation>\x00</annotation>", "a.xml:1:13", "not valid XML"),
        ("<annotation>\n<folder>a & b</folder></annotation>", "a.xml:2:12", "&amp;"),
        ("<html><body/></html>", "a.xml", "<html>"),
    ],
)
# V6
def test_v6_broken_xml_is_placed(
    content: str, place: str, words: str, read: Callable[..., Annotation]
) -> None:
    with pytest.raises(DataError) as fault:
        read(content)
    assert place in str(fault.value)
    assert words in str(fault.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252", "gbk"])
# V7
def test_v7_declared_encodings_are_decoded(encoding: str, read: Callable[..., Annotation]) -> None:
    name = "猫" if encoding == "gbk" else "chaîne"
    content = f'<?xml version="1.0" encoding="{encoding}"?>' + _one(f"<name>{name}</name>{BOX}")
    assert read(content.encode(encoding)).objects[0].name == name


# V7
def test_v7_undeclared_latin1_says_how_to_convert(read: Callable[..., Annotation]) -> None:
    with pytest.raises(DataError, match=r"a\.xml:1.*iconv -f latin1 -t utf-8"):
        read(_one(f"<name>chaîne</name>{BOX}").encode("latin1"))


@pytest.mark.parametrize("encoding", ["klingon", "gbk"])
# V7
def test_v7_wrongly_declared(encoding: str, read: Callable[..., Annotation]) -> None:
    content = f'<?xml version="1.0" encoding="{encoding}"?><annotation>'.encode() + b"\xff\xff"
    with pytest.raises(DataError, match=r"a\.xml.*UTF-8"):
        read(content)


def test_utf8_with_a_byte_order_mark(read: Callable[..., Annotation]) -> None:
    assert read(b"\xef\xbb\xbf<annotation/>").objects == []


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE annotation>",
        '<!DOCTYPE a [<!ENTITY x "boom">]>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd">',
    ],
)
# V8
def test_v8_document_types_are_refused(doctype: str, read: Callable[..., Annotation]) -> None:
    with pytest.raises(DataError, match=r"a\.xml.*DTD"):
        read(f"{doctype}<annotation/>")


# V8
def test_v8_deep_and_large_files_stay_harmless(read: Callable[..., Annotation]) -> None:
    depth = 200_000
    tracemalloc.start()
    with pytest.raises(DataError, match="nested more than 16 deep"):
        read("<annotation>" + "<a>" * depth + "</a>" * depth + "</annotation>")
    with pytest.raises(DataError, match="larger than 16 MB"):
        read("<annotation>" + " " * MAX_BYTES + "</annotation>")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize("root", ["annotation", "Annotation", "ANNOTATION"])
# V9
def test_v9_case_of_the_root(root: str, read: Callable[..., Annotation]) -> None:
    assert len(read(_one(f"<name>cat</name>{BOX}", root=root)).objects) == 1


# V9
def test_v9_namespaces(read: Callable[..., Annotation]) -> None:
    content = _one(f"<name>cat</name>{BOX}").replace(
        "<annotation>", '<annotation xmlns="http://example.org/voc">', 1
    )
    assert read(content).objects[0].corners == (1, 2, 3, 4)


# V10
def test_v10_missing_flags_are_0(read: Callable[..., Annotation]) -> None:
    found = read(_one(f"<name>cat</name>{BOX}"))
    assert found.objects[0].difficult is False
    assert (found.filename, found.size) == (None, None)


@pytest.mark.parametrize(
    ("inner", "tag"),
    [
        (BOX, "<name>"),
        (f"<name> </name>{BOX}", "<name>"),
        ("<name>cat</name>", "<bndbox>"),
        (f"<name>cat</name>{BOX}".replace("<xmax>3</xmax>", ""), "<xmax>"),
        (f"<name>cat</name>{BOX}".replace("<ymin>2", "<ymin>"), "<ymin>"),
        (f"<name>cat</name>{BOX}".replace("<ymin>2", "<ymin>two"), "<ymin>"),
        (f"<name>cat</name>{BOX}".replace("<ymin>2", "<ymin>1,5"), "<ymin>"),
        (f"<name>cat</name>{BOX}".replace("<ymin>2", "<ymin>nan"), "<ymin>"),
        (f"<name>cat</name>{BOX}".replace("<ymin>2", "<ymin>1e999"), "<ymin>"),
        (f"<name>cat</name><difficult>maybe</difficult>{BOX}", "<difficult>"),
    ],
)
# V11
def test_v11_broken_objects_are_named(
    inner: str, tag: str, read: Callable[..., Annotation]
) -> None:
    good = f"<object><name>dog</name>{BOX}</object>"
    with pytest.raises(DataError) as fault:
        read(f"<annotation>{good}<object>{inner}</object></annotation>")
    assert "a.xml: object 2" in str(fault.value)
    assert tag in str(fault.value)


# V12
def test_v12_fractions_in_any_order(read: Callable[..., Annotation]) -> None:
    box = "<bndbox><ymax>4.25</ymax><xmin> 1.5 </xmin><xmax>3e1</xmax><ymin>2</ymin></bndbox>"
    assert read(_one(f"<name>cat</name>{box}")).objects[0].corners == (1.5, 2, 30, 4.25)


# V18
def test_v18_white_space_around_a_name_is_not_part_of_it(read: Callable[..., Annotation]) -> None:
    assert read(_one(f"<name>\n cat </name>{BOX}")).objects[0].name == "cat"


# V23
def test_v23_boxes_of_parts_are_no_objects(read: Callable[..., Annotation]) -> None:
    part = f"<part><name>head</name>{BOX.replace('<xmin>1<', '<xmin>77<')}</part>"
    found = read(_one(f"<name>person</name>{part}{BOX}{part}"))
    assert [(o.name, o.corners) for o in found.objects] == [("person", (1, 2, 3, 4))]


@pytest.mark.parametrize("size", ["<width>0</width><height>9</height>", "<width>x</width>", ""])
def test_senseless_size_is_none(size: str, read: Callable[..., Annotation]) -> None:
    assert read(f"<annotation><size>{size}</size></annotation>").size is None


def test_a_tolerant_reading_tells_of_every_broken_object(tmp_path: Path) -> None:
    good = f"<object><name>dog</name>{BOX}</object>"
    broken = ("<object><name>cat</name></object>", f"<object><name></name>{BOX}</object>")
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{broken[0]}{good}{broken[1]}{good}</annotation>")
    findings = Findings(tolerant=True)
    assert [one.number for one in read_annotation(path, findings).objects] == [2, 4]
    assert [(one.kind, one.file, one.object) for one in findings.found] == [
        (BROKEN, str(path), 1),
        (BROKEN, str(path), 3),
    ]
    assert "<bndbox> is missing" in findings.found[0].place
    assert "<name> is missing" in findings.found[1].place
