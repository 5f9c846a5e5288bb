import pytest

from rfcn.importers.wire import BYTES, FLOAT, VARINT, WireError, fields, varints


def listed(content: bytes) -> list:
    return [
        (n, kind, v if isinstance(v, int) else bytes(v))
        for n, kind, v in fields(memoryview(content))
    ]


def test_every_wire_type_by_hand():
    # 1: 150, the number of the format's own documentation; 2: "testing"; 5: four bytes; 100: empty
    content = b"\x08\x96\x01" + b"\x12\x07testing" + b"\x2d\x00\x00\x80\x3f" + b"\xa2\x06\x00"
    assert listed(content) == [
        (1, VARINT, 150),
        (2, BYTES, b"testing"),
        (5, FLOAT, b"\x00\x00\x80\x3f"),
        (100, BYTES, b""),
    ]
    assert list(varints(memoryview(b"\x03\x8e\x02\x9e\xa7\x05"))) == [3, 270, 86942]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x08", "ends inside a number"),
        (b"\x08" + b"\xff" * 11, "more than 10 bytes"),
        (b"\x12\x09short", "field 2 needs 9 bytes"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\x7fx", "field 2 needs"),
        (b"\x2d\x00", "field 5 needs 4 bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x00", "0 is no number of a field"),
    ],
)
def test_what_is_broken_is_refused(content, words):
    with pytest.raises(WireError, match=words):
        listed(content)
