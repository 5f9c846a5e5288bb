"""Writes .caffemodel files, from the fields of caffe.proto, for the tests of what reads them."""

import struct
from collections.abc import Sequence

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes | str | int | float, *, fixed: bool = False) -> bytes:
    """A field: a whole number as varint, a float as 4 bytes, others with their length."""
    if isinstance(value, float) or fixed:
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(
    array: np.ndarray, *, old: bool = False, packed: bool = True, double: bool = False
) -> bytes:
    """A BlobProto. old: num, channels, height, width instead of a shape."""
    array = np.asarray(array, dtype="<f8" if double else "<f4")
    if old:
        sides = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(field(number, side) for number, side in enumerate(sides, start=1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    if double:
        return shape + field(8, array.tobytes())
    if packed:
        return shape + field(5, array.tobytes())
    return shape + b"".join(field(5, float(number), fixed=True) for number in array.reshape(-1))


def layer(name: str, kind: str, *blobs: bytes, eps: float | None = None) -> bytes:
    """A LayerParameter, in its place in a net."""
    message = field(1, name) + field(2, kind) + field(3, "bottom") + field(10, 1)
    message += b"".join(field(7, one) for one in blobs)
    if eps is not None:
        message += field(139, field(1, 1) + field(3, float(eps)))
    return field(100, message)


def old_layer(name: str, kind: int, *blobs: bytes) -> bytes:
    """A V1LayerParameter, in its place in a net."""
    message = field(4, name) + field(5, kind) + b"".join(field(6, one) for one in blobs)
    return field(2, message)


def net(*layers: bytes) -> bytes:
    """A NetParameter, with an input that nobody reads."""
    return field(1, "a net") + field(3, "data") + b"".join(layers)


def convolution(name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> bytes:
    blobs = [blob(weight)] + ([] if bias is None else [blob(bias)])
    return layer(name, "Convolution", *blobs)


def norm(
    name: str, statistics: Sequence[np.ndarray], *, factor: float = 1.0, eps: float | None = None
) -> bytes:
    """BatchNorm and Scale of (weight, bias, mean, variance), the last two kept as sums."""
    weight, bias, mean, variance = statistics
    sums = [blob(mean * factor), blob(variance * factor), blob(np.array([factor]))]
    scale = "scale" + name.removeprefix("bn")
    return layer(name, "BatchNorm", *sums, eps=eps) + layer(
        scale, "Scale", blob(weight), blob(bias)
    )
