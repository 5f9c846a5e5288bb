"""Foreign networks as dictionaries of arrays by Caffe's names, narrow or of real widths."""

from collections.abc import Mapping

import numpy as np
import torch

from rfcn.models.resnet import ResNet

PARTS = {"downsample.0": "1", "downsample.1": "1", "conv1": "2a", "bn1": "2a",
         "conv2": "2b", "bn2": "2b", "conv3": "2c", "bn3": "2c"}  # fmt: skip
NORM = ("weight", "bias", "running_mean", "running_var")


def block_name(stage: int, block: int, blocks: int) -> str:
    """As in the released nets: 3a, 3b, 3c, 3d; but 4a, 4b1 ... 4b22 of the deep stages."""
    numbered = blocks > 6 or (blocks == 4 and stage == 3)
    if block and numbered:
        return f"{stage}b{block}"
    return f"{stage}{chr(ord('a') + block)}"


def theirs(ours: str, blocks: Mapping[str, int]) -> str:
    """torchvision's name of a tensor -> the common one, written down once more for the tests."""
    words = ours.split(".")
    if words[0] in ("conv1", "bn1"):
        return ("conv1" if words[0] == "conv1" else "bn_conv1") + "." + words[1]
    layer = ".".join(words[2:-1])
    stage = int(words[0][-1]) + 1
    name = block_name(stage, int(words[1]), blocks[words[0]])
    kind = "res" if layer.startswith("conv") or layer.endswith(".0") else "bn"
    return f"{kind}{name}_branch{PARTS[layer]}.{words[-1]}"


def random_state(depth: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a ResNet by our names, with norms that matter."""
    torch.manual_seed(seed)
    state = ResNet(depth, style="caffe").state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
    return state


def names_of(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Our name -> the common one, of all tensors of a ResNet."""
    blocks = {
        stage: 1 + max(int(n.split(".")[1]) for n in state if n.startswith(stage + "."))
        for stage in {n.split(".")[0] for n in state if n.startswith("layer")}
    }
    return {name: theirs(name, blocks) for name in state}


def by_common_name(state: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The weights of a ResNet as a foreign file has them, red first."""
    return {common: state[name].numpy() for name, common in names_of(state).items()}
