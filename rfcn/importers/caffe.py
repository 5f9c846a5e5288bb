"""Caffe's .caffemodel: a NetParameter, read from its wire format; no generated code, no Caffe.

Numbers of fields, from caffe.proto. NetParameter: 2 layers (V1), 100 layer. LayerParameter: 1 name,
2 type, 7 blobs, 139 batch_norm_param (3 eps). V1LayerParameter: 4 name, 5 type, 6 blobs. BlobProto:
1-4 num, channels, height, width; 5 data; 7 shape (1 dim); 8 double_data.

py-R-FCN and MATLAB R-FCN read blue first, subtract the mean and divide by nothing.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfcn.importers.foreign import EPS, Foreign, broken, read_bytes
from rfcn.importers.wire import BYTES, DOUBLE, FLOAT, VARINT, Value, WireError, fields, varints

MEAN = (122.7717, 115.9465, 102.9801)
"""RGB; py-R-FCN writes it BGR: 102.9801, 115.9465, 122.7717."""
MOST_LAYERS = 20_000
MOST_DIMENSIONS = 32
"""Of a blob, as in Caffe."""
_V1_TYPES = {4: "Convolution", 14: "InnerProduct"}
"""The two of V1's numbered types that keep weights here."""


class Layer(NamedTuple):
    """A layer that keeps weights."""

    name: str
    kind: str
    """Caffe's name of its type, or a number of V1."""
    blobs: tuple[np.ndarray, ...]
    """float32, or float64 as in the file."""
    eps: float
    """Of a BatchNorm."""


def read(path: Path) -> Foreign:
    """A .caffemodel by common names.

    The sums that a BatchNorm keeps are divided by its third blob; the Scale after it is its weight
    and bias; an eps other than ours is put into the variance.

    Raises:
        WeightsError: the file is no NetParameter, damaged, or a layer has blobs it cannot have.
    """
    try:
        layers = list(read_layers(read_bytes(path)))
        return _named(layers)
    except (WireError, UnicodeDecodeError) as error:
        raise broken(path, "a .caffemodel", error) from error


def read_layers(net: memoryview) -> Iterator[Layer]:
    """Every layer of a NetParameter that has blobs.

    Raises:
        WireError: this is none.
    """
    count = 0
    for number, kind, value in fields(net):
        if number in (2, 100) and kind == BYTES:
            count += 1
            if count > MOST_LAYERS:
                raise WireError(f"more than {MOST_LAYERS} layers")
            layer = _layer(_bytes(value), v1=number == 2)
            if layer.blobs:
                yield layer
    if not count:
        raise WireError("there are no layers in it")


def _layer(message: memoryview, *, v1: bool) -> Layer:
    name_at, type_at, blobs_at = (4, 5, 6) if v1 else (1, 2, 7)
    name, layer_type, blobs, eps = "", "", [], EPS
    for number, kind, value in fields(message):
        if number == name_at and kind == BYTES:
            name = bytes(_bytes(value)).decode()
        elif number == type_at and kind == BYTES:
            layer_type = bytes(_bytes(value)).decode()
        elif number == type_at and kind == VARINT:
            layer_type = _V1_TYPES.get(int(value), f"V1 type {value}")
        elif number == blobs_at and kind == BYTES:
            blobs.append(_blob(_bytes(value), name))
        elif number == 139 and not v1 and kind == BYTES:
            eps = _eps(_bytes(value))
    return Layer(name, layer_type, tuple(blobs), eps)


def _eps(message: memoryview) -> float:
    for number, kind, value in fields(message):
        if number == 3 and kind == FLOAT:
            return float(struct.unpack("<f", _bytes(value))[0])
    return EPS


def _blob(message: memoryview, layer: str) -> np.ndarray:
    old: dict[int, int] = {}
    shape: tuple[int, ...] | None = None
    pieces: list[np.ndarray] = []
    for number, kind, value in fields(message):
        if number in (1, 2, 3, 4) and kind == VARINT:
            old[number] = int(value)
        elif number == 7 and kind == BYTES:
            shape = tuple(_dimensions(_bytes(value)))
        elif number == 5 and kind in (BYTES, FLOAT):
            pieces.append(_numbers(value, "<f4"))
        elif number == 8 and kind in (BYTES, DOUBLE):
            pieces.append(_numbers(value, "<f8"))
    data = np.concatenate(pieces) if pieces else np.zeros(0, "<f4")
    if shape is None:
        shape = tuple(old.get(number, 1) for number in (1, 2, 3, 4))
    expected = 1
    for side in shape:
        expected *= side
    if len(shape) > MOST_DIMENSIONS or expected != data.size:
        raise WireError(
            f"a blob of layer {layer or '(unnamed)'} has {data.size} numbers and the shape "
            f"{list(shape)[:6]}"
        )
    return data.reshape(shape)


def _dimensions(message: memoryview) -> Iterator[int]:
    for number, kind, value in fields(message):
        if number == 1 and kind == BYTES:
            yield from varints(_bytes(value))
        elif number == 1 and kind == VARINT:
            yield int(value)


def _numbers(value: Value, form: str) -> np.ndarray:
    content = _bytes(value)
    if len(content) % int(form[-1]):
        raise WireError(f"{len(content)} bytes are no whole count of numbers")
    return np.frombuffer(content, form)


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number stands where bytes were expected")
    return value


# ------------------------------------------------------------------------------------------ names


def _named(layers: Sequence[Layer]) -> Foreign:
    tensors: dict[str, Tensor] = {}
    origin: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    norms = 0
    for layer in layers:
        if layer.kind == "BatchNorm":
            norms += 1
        found = _norm(layer) if layer.kind == "BatchNorm" else _plain(layer)
        for name, (tensor, blob) in found.items():
            if name in tensors:
                raise WireError(f"two layers give {name}")
            tensors[name] = tensor
            origin[name] = (f"{layer.name}[{blob}]",)
    if norms:
        notes.append(
            f"{norms} BatchNorm layers: their sums were divided by their third blob, and each "
            "Scale layer is the weight and bias of the norm before it."
        )
    other = {layer.eps for layer in layers if layer.kind == "BatchNorm"} - {EPS}
    if other:
        notes.append(f"eps {', '.join(map(str, sorted(other)))} was put into the variances.")
    return Foreign(
        "Caffe", tensors, origin, bgr=True, mean=MEAN, std=(1, 1, 1), style="caffe", notes=notes
    )


def _plain(layer: Layer) -> dict[str, tuple[Tensor, int]]:
    """Weight and bias of a layer; of a Scale under the name of its norm."""
    name = layer.name.replace("/", "_")  # rpn_conv/3x3
    if layer.kind == "Scale":
        name = "bn" + name.removeprefix("scale") if name.startswith("scale") else name
        name = name if name.startswith("bn") else f"bn_{name}"
    parts = ("weight", "bias")
    found = {}
    for place, blob in enumerate(layer.blobs):
        part = parts[place] if place < 2 else str(place)
        flat = place > 0 or layer.kind == "Scale"
        tensor = _tensor(blob.reshape(-1) if flat else blob)
        if layer.kind == "InnerProduct" and place == 0 and tensor.dim() == 4:
            tensor = tensor.flatten(0, 2)  # V1: 1 x 1 x outputs x inputs
        found[f"{name}.{part}"] = (tensor, place)
    return found


def _norm(layer: Layer) -> dict[str, tuple[Tensor, int]]:
    """Mean and variance: the sums by the factor, as Caffe does when it uses them."""
    if len(layer.blobs) != 3 or layer.blobs[2].size != 1:
        raise WireError(f"the BatchNorm {layer.name} has not the three blobs of one")
    factor = float(layer.blobs[2].reshape(-1)[0])
    scale = 0.0 if factor == 0 else 1 / factor
    mean, variance = (
        _tensor(blob.reshape(-1).astype(np.float64) * scale) for blob in layer.blobs[:2]
    )
    if layer.eps != EPS:
        variance = _tensor(variance.numpy().astype(np.float64) + (layer.eps - EPS))
    return {f"{layer.name}.running_mean": (mean, 0), f"{layer.name}.running_var": (variance, 1)}


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
