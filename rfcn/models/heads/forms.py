"""Two ways to one vote, and which is cheaper.

`maps`, the paper's: convolve all cells to k*k*C maps, then pool and vote. `features`: pool the
features into k*k bins for each RoI, then multiply them with the same weights
(`rfcn.models.heads.pooled_product`). Both give the same numbers up to rounding. With N*H*W cells,
R RoIs, D features and B bytes (of `BYTES` a value, each read or written), a pass costs

    maps:      cells * D * k*k*C multiply-adds   and   cells * k*k*C values
    features:  R * D * k*k*C multiply-adds       and   R * k*k * D values, for all layers together

so that maps cost the same for any number of RoIs, and features hardly more for more classes.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

Form = Literal["maps", "features"]

BYTES = 8
"""A value in float32 is written once and read once."""
MULTIPLY_ADDS_A_BYTE = 5
"""What a processor multiplies while it moves a byte: about 50e9 multiply-adds and 10e9 bytes a
second on one core of an AMD EPYC with AVX-512, from the user time of both forms
(`benchmarks/bench_head.py`). GPUs were not measured."""
TRAINING_PASSES = 3
"""Backward multiplies twice what forward does, and moves the maps and their gradient."""
TRAINING_POOLED_PASSES = 6
"""Backward pools again, and makes, reads and scatters the gradient of what is pooled."""


class Load(NamedTuple):
    """What a head is given: cells N*H*W of the features, RoIs, features D a cell, bins k a side."""

    cells: int
    rois: int
    depth: int
    k: int


def cost_of_maps(load: Load, channels: int, *, training: bool) -> float:
    """Multiply-adds, and bytes in their measure, of voting by maps. channels: C of the layer."""
    maps = load.cells * load.k**2 * channels
    passes = TRAINING_PASSES if training else 1
    return passes * maps * (load.depth + BYTES * MULTIPLY_ADDS_A_BYTE)


def cost_of_features(load: Load, channels: Sequence[int], *, training: bool) -> float:
    """The same of voting from pooled features, for layers of so many channels each."""
    pooled = load.rois * load.k**2 * load.depth
    passes = TRAINING_POOLED_PASSES if training else 1
    moved = passes * pooled * BYTES * MULTIPLY_ADDS_A_BYTE
    return (TRAINING_PASSES if training else 1) * pooled * sum(channels) + moved


def choose_forms(load: Load, channels: Sequence[int], *, training: bool) -> tuple[Form, ...]:
    """The cheapest form of each layer; layers that take features share their pooling.

    Args:
        load: how much there is to do. channels: C of each layer (classes with background; 4S).
        training: whether a backward pass follows.
    """

    def cost(forms: tuple[Form, ...]) -> float:
        of = {
            form: [c for c, f in zip(channels, forms, strict=True) if f == form] for form in forms
        }
        total = sum(cost_of_maps(load, one, training=training) for one in of.get("maps", []))
        if "features" in of:
            total += cost_of_features(load, of["features"], training=training)
        return total

    choices: tuple[Form, ...] = ("maps", "features")
    return min(product(choices, repeat=len(channels)), key=cost)
