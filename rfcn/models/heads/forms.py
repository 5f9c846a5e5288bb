"""Two ways to one vote, and which is cheaper.

`maps`, the paper's: convolve all cells to k*k*C maps, then pool and vote. `features`: pool the
features into k*k bins for each RoI, then multiply them with the same weights
(`rfcn.models.heads.pooled_product`). Both give the same numbers up to rounding. Costs are counted
in multiply-adds; with N*H*W cells, R RoIs, D features a cell and C numbers a RoI,

    maps:      cells * (D * k*k*C  +  MOVED * (D + k*k*C))                       for each layer
    features:  R * D * (k*k*C  +  MOVED * k*k  +  ADDED * (SIDE + k)**2)         pooled once for all

so that maps cost the same for any number of RoIs, and features hardly more for more classes. (A RoI
of s x s cells has k x k bins of about s/k + 1 cells a side, which read (s + k)**2 cells.)
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

Form = Literal["maps", "features"]

MOVED = 40
"""Multiply-adds in the time that a float32 value is written and read."""
ADDED = 8
"""Multiply-adds in the time that pooling reads a value of a cell and adds it.

Both from the processor time of both forms on two cores of an AMD EPYC with AVX-512, which
multiplies 50e9 times a second and core (`benchmarks/bench_head.py`). No GPU was measured."""
SIDE = 8
"""Cells a side of a usual RoI: 128 pixels at stride 16. To ask the RoIs would stall a GPU."""
TRAINING = 3
"""Backward multiplies twice what forward does, and moves the maps and their gradient."""
TRAINING_POOLED = 4
"""Backward pools again, and writes, reads and scatters the gradient of what is pooled."""


class Load(NamedTuple):
    """What a head is given: cells N*H*W of the features, RoIs, features D a cell, bins k a side."""

    cells: int
    rois: int
    depth: int
    k: int


def cost_of_maps(load: Load, channels: int, *, training: bool) -> float:
    """Voting by the maps of one layer. channels: C, the numbers a RoI gets."""
    maps = load.k**2 * channels
    each = load.depth * maps + MOVED * (load.depth + maps)
    return load.cells * each * (TRAINING if training else 1)


def cost_of_features(load: Load, channels: Sequence[int], *, training: bool) -> float:
    """Voting from pooled features, for layers of so many channels each."""
    products = load.k**2 * sum(channels) * (TRAINING if training else 1)
    pooling = MOVED * load.k**2 + ADDED * (SIDE + load.k) ** 2
    return load.rois * load.depth * (products + pooling * (TRAINING_POOLED if training else 1))


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
