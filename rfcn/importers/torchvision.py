"""torchvision's state dicts: of its classifiers, and of its detectors, whose backbone is taken.

A detector there has a feature pyramid in front of RPN and head, which none of ours has: those are
left out. Files are read as data (`weights_only`), never as objects.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rfcn.errors import WeightsError
from rfcn.importers.foreign import EPS, IMAGENET_STD, Foreign, broken

_WRAPPERS = ("model", "model_ema", "state_dict")
"""Keys under which training scripts keep the state dict."""
_PREFIXES = ("module.", "backbone.body.", "backbone.")
_STAGES = {"layer1": "2", "layer2": "3", "layer3": "4", "layer4": "5"}
_PARTS = {"downsample.0": "1", "downsample.1": "1", "conv1": "2a", "bn1": "2a",
          "conv2": "2b", "bn2": "2b", "conv3": "2c", "bn3": "2c"}  # fmt: skip
_VGG = {0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2",
        14: "conv3_3", 17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2",
        28: "conv5_3"}  # fmt: skip
_CLASSIFIER = {"0": "fc6", "3": "fc7"}


def read(path: Path, *, eps: float = EPS) -> Foreign:
    """A torchvision state dict by common names.

    Args:
        eps: what its norms add to variances; torchvision's own Faster R-CNN weights of COCO_V1 were
            run with 0.

    Raises:
        WeightsError: the file cannot be read as data, or is no state dict, or one layer is in it
            twice.
    """
    return named(read_state(path), eps=eps)


def named(state: Mapping[str, Tensor], *, eps: float = EPS) -> Foreign:
    """Tensors by torchvision's names -> by common names. eps: see `read`.

    Raises:
        WeightsError: two tensors are the same layer.
    """
    tensors: dict[str, Tensor] = {}
    origin: dict[str, tuple[str, ...]] = {}
    for key, tensor in state.items():
        name = common_name(key)
        if name in tensors:
            raise WeightsError(f"{key} and {origin[name][0]} are the same layer.")
        shift = eps - EPS if name.endswith(".running_var") else 0
        tensors[name] = (tensor.double() + shift).float() if shift else tensor.float()
        origin[name] = (key,)
    notes = [f"eps {eps:g} was put into the variances."] if eps != EPS else []
    return Foreign(
        "torchvision", tensors, origin, std=IMAGENET_STD, style="torchvision", notes=notes
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a file that torch.save wrote, out of what training scripts wrap round.

    Raises:
        WeightsError: as `read`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken file
        reason = ValueError((str(error).splitlines() or [type(error).__name__])[0])
        raise broken(path, "a PyTorch file of tensors alone", reason) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no tensors by name.")
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def common_name(key: str) -> str:
    """torchvision's name of a tensor -> the common one; what is no backbone keeps its own."""
    bare = key
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    words = bare.split(".")
    part = words[-1]
    if words[0] in ("conv1", "bn1") and len(words) == 2:
        return f"{'conv1' if words[0] == 'conv1' else 'bn_conv1'}.{part}"
    if words[0] in _STAGES and len(words) in (4, 5) and words[1].isdecimal():
        layer = ".".join(words[2:-1])
        if layer in _PARTS:
            block = "a" if words[1] == "0" else f"b{words[1]}"
            kind = "res" if layer.startswith("conv") or layer == "downsample.0" else "bn"
            return f"{kind}{_STAGES[words[0]]}{block}_branch{_PARTS[layer]}.{part}"
    if words[0] == "features" and len(words) == 3 and words[1].isdecimal():
        return f"{_VGG.get(int(words[1]), bare.rpartition('.')[0])}.{part}"
    if words[0] == "classifier" and len(words) == 3:
        return f"{_CLASSIFIER.get(words[1], bare.rpartition('.')[0])}.{part}"
    return key
