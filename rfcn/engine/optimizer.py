"""SGD with the parameter groups of the published training: weights, new biases, normalisation."""

from collections.abc import Callable, Collection

import torch
from torch import nn

NORMALISATION = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


def build_sgd(
    model: nn.Module,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    bias_lr_factor: float = 1.0,
    new_parameters: Callable[[str], bool] | Collection[str] = (),
) -> torch.optim.SGD:
    """SGD over the parameters of `model` that require a gradient.

    Three groups, empty ones left out, each with its `name` and its `lr_scale`:

    - `weights`: everything else, at `lr`;
    - `new_biases`: biases of layers that start from random values, at `lr * bias_lr_factor`
      (py-R-FCN trains them at twice the rate);
    - `normalisation`: scale and shift of trainable group or batch norm, without weight decay.

    Args:
        new_parameters: says of a parameter's name whether its layer is new; or those names.

    Raises:
        ValueError: nothing in `model` requires a gradient.
    """
    is_new = new_parameters if callable(new_parameters) else set(new_parameters).__contains__
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "new_biases": [], "normalisation": []}
    in_normalisation = _normalisation_parameters(model)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in in_normalisation:
            groups["normalisation"].append(parameter)
        elif name.rpartition(".")[2] == "bias" and is_new(name):
            groups["new_biases"].append(parameter)
        else:
            groups["weights"].append(parameter)
    if not any(groups.values()):
        raise ValueError("no parameter of the model requires a gradient")
    scales = {"new_biases": bias_lr_factor}
    decays = {"normalisation": 0.0}
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "name": name,
                "lr": lr * scales.get(name, 1.0),
                "lr_scale": scales.get(name, 1.0),
                "weight_decay": decays.get(name, weight_decay),
            }
            for name, parameters in groups.items()
            if parameters
        ],
        lr=lr,
        momentum=momentum,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group `lr` times its `lr_scale` (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def _normalisation_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters that belong to a normalisation layer."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, NORMALISATION)
        for name, _ in module.named_parameters(recurse=False)
    }
