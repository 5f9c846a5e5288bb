"""MXNet's .params, of Deformable-ConvNets: a list of NDArrays and their names.

All little-endian. File: uint64 0x112, uint64 0, uint64 count and so many arrays, uint64 count and
so many names, each a uint64 length and its bytes. An array of version 2 or 3: uint32 magic, int32
storage (0: dense), shape, int32 device type, int32 device number, int32 number type, data; version
1 has no storage; before that the first uint32 is the number of sides, each a uint32. A shape is a
uint32 (version 3: int32) and so many int64.

Deformable-ConvNets reads red first, subtracts the mean and divides by nothing.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfcn.importers.foreign import Foreign, broken, read_bytes

MAGIC = 0x112
MEAN = (123.15, 115.90, 103.06)
"""RGB; Deformable-ConvNets writes it BGR."""
MOST_ARRAYS = 100_000
MOST_SIDES = 32
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
_PARTS = {
    "_weight": ".weight",
    "_bias": ".bias",
    "_gamma": ".weight",
    "_beta": ".bias",
    "_moving_mean": ".running_mean",
    "_moving_var": ".running_var",
}


class ParamsError(ValueError):
    """What is read is no list of arrays, or one that ends too early."""


def read(path: Path) -> Foreign:
    """A .params file by common names; Deformable-ConvNets' layers are called as Caffe's.

    Raises:
        WeightsError: the file is no list of named arrays, damaged, or of a kind never used for
            weights.
    """
    try:
        arrays = read_arrays(read_bytes(path))
        return _named(arrays)
    except (ParamsError, UnicodeDecodeError) as error:
        raise broken(path, "MXNet's .params", error) from error


class _Bytes:
    """A file, read from front to back."""

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.place = 0

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        left = len(self.content) - self.place
        if count > left:
            raise ParamsError(f"byte {self.place}: {count} bytes are needed, {left} are left")
        self.place += count
        return self.content[self.place - count : self.place]

    def number(self, form: str) -> int:
        """The next number, of a form of `struct`."""
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])


def read_arrays(content: memoryview) -> dict[str, np.ndarray]:
    """Every array by its name in the file (`arg:conv1_weight`).

    Raises:
        ParamsError: this is no such file.
    """
    file = _Bytes(content)
    if file.number("Q") != MAGIC:
        raise ParamsError("it does not begin as a list of arrays")
    file.number("Q")
    count = file.number("Q")
    if count > MOST_ARRAYS:
        raise ParamsError(f"more than {MOST_ARRAYS} arrays")
    arrays = [_array(file) for _ in range(count)]
    if file.number("Q") != count:
        raise ParamsError("there are other than as many names as arrays")
    names = [bytes(file.take(file.number("Q"))).decode() for _ in range(count)]
    if len(set(names)) != count:
        raise ParamsError("two arrays have one name")
    return dict(zip(names, arrays, strict=True))


def _array(file: _Bytes) -> np.ndarray:
    magic = file.number("I")
    if magic in (_V2, _V3) and file.number("i") != 0:
        raise ParamsError("a sparse array")
    if magic in (_V1, _V2, _V3):
        sides = _sides(file, file.number("i" if magic == _V3 else "I"), "q")
    else:
        sides = _sides(file, magic, "I")
    if not sides and magic != _V3:
        return np.zeros(0, "<f4")  # one that was never filled: nothing follows
    file.take(8)  # the device
    kind = file.number("i")
    if kind not in _TYPES:
        raise ParamsError(f"numbers of type {kind}")
    form = np.dtype(_TYPES[kind])
    count = 1
    for side in sides:
        count *= side
    return np.frombuffer(file.take(count * form.itemsize), form).reshape(sides)


def _sides(file: _Bytes, count: int, form: str) -> tuple[int, ...]:
    if not 0 <= count <= MOST_SIDES:
        raise ParamsError(f"an array of {count} sides")
    sides = tuple(file.number(form) for _ in range(count))
    if any(side < 0 for side in sides):
        raise ParamsError(f"a shape {list(sides)}")
    return sides


def _named(arrays: Mapping[str, np.ndarray]) -> Foreign:
    tensors: dict[str, Tensor] = {}
    origin: dict[str, tuple[str, ...]] = {}
    for source, array in arrays.items():
        name = common_name(source)
        if name in tensors:
            raise ParamsError(f"{source} and {origin[name][0]} are the same layer")
        tensors[name] = torch.from_numpy(array.astype(np.float32))
        origin[name] = (source,)
    return Foreign("MXNet", tensors, origin, mean=MEAN, std=(1, 1, 1), style="caffe")


def common_name(source: str) -> str:
    """`arg:bn2a_branch1_gamma` -> `bn2a_branch1.weight`; other names lose only their kind."""
    bare = source.removeprefix("arg:").removeprefix("aux:")
    test = bare.endswith("_test")
    bare = bare.removesuffix("_test")
    for theirs, ours in _PARTS.items():
        if bare.endswith(theirs):
            layer = bare.removesuffix(theirs) + ("_test" if test else "")
            return layer + ours
    return source
