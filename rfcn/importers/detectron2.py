"""detectron2's and Detectron's .pkl (and detectron2's .pth): their backbones.

Detectron called tensors `res2_0_branch2a_w`, and its norms, without statistics, `..._bn_s` and
`..._bn_b`; detectron2 `backbone.res2.0.conv1.weight` and `...conv1.norm.weight`. By default both
read blue first, subtract the mean alone, and stride in the first 1x1. A file that its
`convert-torchvision-to-d2.py` wrote says so; it is used as in torchvision.

RPN and heads are left out: anchors there are centred on the corner of a cell, objects are told from
background by one number, and background is the last class.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfcn.errors import WeightsError
from rfcn.importers.foreign import EPS, IMAGENET_STD, Foreign, broken, read_bytes
from rfcn.importers.pickled import PickleError, arrays_in, read_pickle

_OLD = re.compile(r"(?:res(\d)_(\d+)_(branch\w\w?)|(?:res_)?(conv1))_(w|b|bn_s|bn_b)")
_NEW = re.compile(
    r"(?:(?:backbone|roi_heads)\.)?(?:bottom_up\.)?(?:res(\d)\.(\d+)|stem)"
    r"\.(conv[123]|shortcut)\.(norm\.)?(\w+)"
)
_BRANCHES = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}
_OLD_PARTS = {"w": "weight", "b": "bias", "bn_s": "weight", "bn_b": "bias"}


def read(path: Path) -> Foreign:
    """A .pkl by common names.

    Raises:
        WeightsError: it is damaged, or holds anything but arrays in containers.
    """
    try:
        content = read_pickle(bytes(read_bytes(path)))
    except PickleError as error:
        raise broken(path, "a pickle of arrays", error) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no arrays by name.")
    inner = next((content[key] for key in ("model", "blobs") if key in content), content)
    arrays = {key: torch.from_numpy(np.array(a, np.float32)) for key, a in arrays_in(inner)}
    return named(arrays, of_torchvision=content.get("__author__") == "torchvision")


def is_named(names: Iterable[str]) -> bool:
    """Whether tensors are called as in detectron2."""
    beginnings = ("proposal_generator.", "backbone.stem.", "backbone.bottom_up.", "stem.conv1.")
    return any(name.startswith(beginnings) for name in names)


def named(arrays: Mapping[str, Tensor], *, of_torchvision: bool = False) -> Foreign:
    """Tensors by detectron2's or Detectron's names -> by common names.

    of_torchvision: whether they came from there, and pictures are put in as there.
    """
    tensors: dict[str, Tensor] = {}
    origin: dict[str, tuple[str, ...]] = {}
    for source, tensor in arrays.items():
        name = common_name(source)
        if name in tensors:
            raise WeightsError(f"{source} and {origin[name][0]} are the same layer.")
        tensors[name], origin[name] = tensor.float(), (source,)
        if source.endswith("_bn_s") and name != source:  # a norm without statistics
            layer = name.rpartition(".")[0]
            for part, value in (("running_mean", 0.0), ("running_var", 1 - EPS)):
                tensors[f"{layer}.{part}"] = torch.full_like(tensor, value, dtype=torch.float32)
                origin[f"{layer}.{part}"] = (source,)
    if of_torchvision:
        return Foreign("detectron2", tensors, origin, std=IMAGENET_STD, style="torchvision")
    return Foreign("detectron2", tensors, origin, bgr=True, style="caffe", doubtful=True)


def common_name(source: str) -> str:
    """`res4_22_branch2a_w`, `backbone.res4.22.conv1.weight` -> `res4b22_branch2a.weight`."""
    if match := _OLD.fullmatch(source):
        stage, block, branch, stem, part = match.groups()
        norm = "bn" in part
        if stem:
            return f"{'bn_conv1' if norm else 'conv1'}.{_OLD_PARTS[part]}"
        return f"{_block(norm, stage, block)}_{branch}.{_OLD_PARTS[part]}"
    if match := _NEW.fullmatch(source):
        stage, block, layer, normed, part = match.groups()
        if stage is None:
            return f"{'bn_conv1' if normed else 'conv1'}.{part}" if layer == "conv1" else source
        return f"{_block(bool(normed), stage, block)}_branch{_BRANCHES[layer]}.{part}"
    return source


def _block(norm: bool, stage: str, block: str) -> str:
    return f"{'bn' if norm else 'res'}{stage}{'a' if block == '0' else 'b' + block}"
