"""From the common names of a classification network to the names of our backbones (torchvision's).

res4b22_branch2a, bn4b22_branch2a    ->  layer3.22.conv1, layer3.22.bn1
res3a_branch1, bn3a_branch1          ->  layer2.0.downsample.0, layer2.0.downsample.1
conv5_3                              ->  features.28 of VGG-16
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from rfcn.errors import WeightsError
from rfcn.importers.foreign import EPS
from rfcn.importers.ledger import AS_IT_IS, Ledger

BLUE_FIRST = "blue and red exchanged"
FOLDED = "a norm without statistics, they are folded into the layer before"

_BRANCH = re.compile(r"res([2-5])([a-z])(\d*)_branch(1|2a|2b|2c)\.weight")
_PARTS = {"1": ("downsample.0", "downsample.1"), "2a": ("conv1", "bn1"),
          "2b": ("conv2", "bn2"), "2c": ("conv3", "bn3")}  # fmt: skip
_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
"""(bottlenecks, blocks a stage) -> depth."""
_NORM = ("weight", "bias", "running_mean", "running_var")
_VGG = {
    f"conv{stage}_{layer}": f"features.{place}"
    for stage, places in enumerate(
        ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)), start=1
    )
    for layer, place in enumerate(places, start=1)
} | {"fc6": "classifier.0", "fc7": "classifier.3"}


class Network(NamedTuple):
    """What kind of backbone a file holds."""

    kind: str
    """`resnet` or `vgg16`."""
    depth: int
    """Of a ResNet; 16 otherwise."""
    stages: tuple[str, ...]
    """Those that are there: conv1 ... conv5, fc."""


class _Branch(NamedTuple):
    """A convolution of a residual block, and where it belongs."""

    name: str
    """Without `res`: 4b22_branch2a."""
    stage: int
    block: int
    part: str


def recognise(names: Iterable[str]) -> Network | None:
    """The backbone that has tensors of these common names; nothing where there is none.

    Raises:
        WeightsError: a residual network of a depth that is unknown here.
    """
    names = set(names)
    if {"conv1_1.weight", "conv3_3.weight"} <= names:
        stages = [f"conv{n}" for n in range(1, 6) if f"conv{n}_1.weight" in names]
        return Network("vgg16", 16, (*stages, *(["fc"] if "fc7.weight" in names else [])))
    branches = _branches(names)
    if not branches:
        return None
    blocks = tuple(
        len({one.block for one in branches if one.stage == stage}) for stage in range(2, 6)
    )
    found = tuple(n for n in blocks if n)
    bottleneck = any(one.part == "2c" for one in branches)
    depths = {
        depth for (deep, counts), depth in _DEPTHS.items()
        if deep == bottleneck and counts[: len(found)] == found == blocks[: len(found)]
    }  # fmt: skip
    if len(depths) != 1:
        raise WeightsError(
            f"the residual network of the file has {', '.join(map(str, blocks))} blocks in its "
            "stages conv2 to conv5, which is no ResNet-18, 34, 50, 101 or 152."
        )
    return Network("resnet", depths.pop(), tuple(f"conv{n}" for n in range(1, 2 + len(found))))


def take_backbone(ledger: Ledger, network: Network, prefix: str = "") -> None:
    """Put a backbone's tensors where they belong. prefix: before our names (`backbone.`)."""
    if network.kind == "vgg16":
        _take_vgg(ledger, prefix)
        return
    _take_pair(ledger, "conv1", "bn_conv1", f"{prefix}conv1", f"{prefix}bn1")
    for one in _branches(ledger.foreign.tensors):
        convolution, norm = _PARTS[one.part]
        where = f"{prefix}layer{one.stage - 1}.{one.block}"
        _take_pair(
            ledger, f"res{one.name}", f"bn{one.name}", f"{where}.{convolution}", f"{where}.{norm}"
        )


def _branches(names: Iterable[str]) -> list[_Branch]:
    """All convolutions of residual blocks, from the first block on."""
    found = []
    for name in names:
        if match := _BRANCH.fullmatch(name):
            stage, letter, number, part = match.groups()
            block = int(number) if number else ord(letter) - ord("a")
            found.append(_Branch(name[3:].removesuffix(".weight"), int(stage), block, part))
    return sorted(found, key=lambda one: (one.stage, one.block, one.part))


def _take_pair(ledger: Ledger, convolution: str, norm: str, ours: str, our_norm: str) -> None:
    """A convolution and its norm. A bias before the norm moves its mean; a convolution that has
    a bias and no norm carries a folded one."""
    weight, bias = ledger.get(f"{convolution}.weight"), ledger.get(f"{convolution}.bias")
    if weight is None:
        ledger.missing.append(f"{convolution}.weight")
        return
    first = convolution == "conv1" and ledger.foreign.bgr
    ledger.put(
        f"{ours}.weight",
        weight.flip(1) if first else weight,
        f"{convolution}.weight",
        how=BLUE_FIRST if first else AS_IT_IS,
    )
    statistics = {part: ledger.get(f"{norm}.{part}") for part in _NORM}
    if all(one is None for one in statistics.values()) and bias is not None:
        _take_folded(ledger, bias, f"{convolution}.bias", our_norm)
        return
    for part, found in statistics.items():
        if found is None:
            ledger.missing.append(f"{norm}.{part}")
        elif part == "running_mean" and bias is not None:
            names = (f"{norm}.{part}", f"{convolution}.bias")
            how = "less the bias of the convolution"
            ledger.put(f"{our_norm}.{part}", found - bias, *names, how=how)
        else:
            ledger.put(f"{our_norm}.{part}", found, f"{norm}.{part}")


def _take_folded(ledger: Ledger, bias: Tensor, name: str, ours: str) -> None:
    """A norm that only adds: weight 1, mean 0, variance 1 less eps."""
    one = torch.ones_like(bias)
    values = (one, bias, one * 0, one * (1 - EPS))
    for part, value in zip(_NORM, values, strict=True):
        ledger.put(f"{ours}.{part}", value, name, how=FOLDED)


def _take_vgg(ledger: Ledger, prefix: str) -> None:
    for theirs, ours in _VGG.items():
        if theirs.startswith("fc") and f"{theirs}.weight" not in ledger.foreign.tensors:
            continue  # a file may end after the convolutions
        if theirs == "conv1_1" and ledger.foreign.bgr:
            ledger.move(
                f"{theirs}.weight", f"{prefix}{ours}.weight", lambda w: w.flip(1), BLUE_FIRST
            )
        else:
            ledger.move(f"{theirs}.weight", f"{prefix}{ours}.weight")
        ledger.move(f"{theirs}.bias", f"{prefix}{ours}.bias")
