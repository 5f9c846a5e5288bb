"""The wire format of protocol buffers, as far as files of weights use it: fields in, no schema.

A message is a row of fields, each a varint key (number * 8 + wire type) and a value: a varint (type
0), 8 bytes (1), a length and so many bytes (2), or 4 bytes (5). Groups (3 and 4) are refused.
"""

from collections.abc import Iterator

Value = int | memoryview
"""A varint as a whole number; of the other types the bytes."""

VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5
_WIDTHS = {DOUBLE: 8, FLOAT: 4}
_LONGEST_VARINT = 10


class WireError(ValueError):
    """What is read is no message, or one that ends too early."""


def fields(message: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Every field of a message in turn: (number, wire type, value).

    Raises:
        WireError: a key or a value is broken, or reaches beyond the message.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"byte {place}: {number} is no number of a field")
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in _WIDTHS:
            length = _WIDTHS[kind]
        else:
            raise WireError(f"byte {place}: wire type {kind} is not used by weights")
        if length > len(message) - place:
            raise WireError(
                f"byte {place}: field {number} needs {length} bytes of {len(message) - place}"
            )
        yield number, kind, message[place : place + length]
        place += length


def varints(packed: memoryview) -> Iterator[int]:
    """The whole numbers of a packed field."""
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """(a whole number of 7 bits a byte, lowest first; where it ends)."""
    value = 0
    for count in range(_LONGEST_VARINT):
        if place >= len(message):
            raise WireError(f"byte {place}: the message ends inside a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place
    raise WireError(f"byte {place}: a number of more than {_LONGEST_VARINT} bytes")
