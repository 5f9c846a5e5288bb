"""From a detector of some classes to one of others: fine-tuning, with heads remapped by name.

The paper trains on COCO and goes on with VOC (section 4.1, tables 4 and 5). Layers of the same
shape are taken over; of layers that have rows for each class, the rows of the background and of
every class that both know by name.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfcn.errors import WeightsError

SYNONYMS = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""VOC's names of the classes that COCO calls otherwise."""


class Transfer(NamedTuple):
    """What became of the weights."""

    copied: list[str]
    """Tensors taken over whole."""
    remapped: list[str]
    """Tensors of which the rows of shared classes were taken over."""
    fresh: list[str]
    """Tensors that keep their initial values, for the other has none of that name and shape."""
    shared: dict[str, str]
    """Class of the new detector -> the same class by its old name."""

    def describe(self, class_names: Sequence[str]) -> list[str]:
        """What to tell the user, a line each."""
        renamed = [f"{new} from {old}" for new, old in self.shared.items() if new != old]
        unknown = [name for name in class_names if name not in self.shared]
        lines = [
            f"{len(self.copied)} tensors taken over whole, {len(self.remapped)} by class; "
            f"{len(self.shared)} of {len(class_names)} classes are known by name"
            + (f" ({', '.join(renamed)})" if renamed else "")
        ]
        if unknown:
            lines.append(f"classes that start anew: {', '.join(unknown)}")
        if self.fresh:
            lines.append(f"tensors that start anew: {', '.join(self.fresh)}")
        return lines


def class_rows(detector: nn.Module) -> dict[str, Tensor]:
    """Every tensor with rows for each class, by its name in the state dict: [C+1, rows a class].

    Modules say so themselves, in `class_rows() -> {layer: rows}`.
    """
    found = {}
    for name, module in detector.named_modules():
        if hasattr(module, "class_rows"):
            for layer, rows in module.class_rows().items():
                for part in ("weight", "bias"):
                    found[f"{name}.{layer}.{part}".lstrip(".")] = rows
    return found


def shared_classes(new: Sequence[str], old: Sequence[str]) -> dict[str, str]:
    """New name -> old name of the classes both know, VOC's and COCO's names being the same."""
    by_meaning = {SYNONYMS.get(name, name): name for name in old}
    meant = {name: SYNONYMS.get(name, name) for name in new}
    return {name: by_meaning[word] for name, word in meant.items() if word in by_meaning}


@torch.no_grad()
def transfer(
    detector: nn.Module,
    class_names: Sequence[str],
    old: nn.Module,
    old_state: Mapping[str, Tensor],
    old_class_names: Sequence[str],
) -> Transfer:
    """Give `detector` what it shares with another one.

    Args:
        detector: changed in place. class_names: its classes, label 1 first.
        old: a detector of the other's architecture, for where its classes' rows lie; its values do
            not matter. old_state, old_class_names: the other's weights and classes.

    Raises:
        WeightsError: not one tensor fits.
    """
    shared = shared_classes(class_names, old_class_names)
    pairs = [(0, 0)]
    pairs += [(class_names.index(a) + 1, old_class_names.index(b) + 1) for a, b in shared.items()]
    new_labels, old_labels = torch.tensor(pairs).unbind(1)
    rows, old_rows = class_rows(detector), class_rows(old)
    report = Transfer([], [], [], shared)
    for name, tensor in detector.state_dict().items():
        source = old_state.get(name)
        by_class = name in rows and name in old_rows
        if by_class and source is not None and source.shape[1:] == tensor.shape[1:]:
            tensor[rows[name][new_labels].flatten()] = source[
                old_rows[name][old_labels].flatten()
            ].to(tensor)
            report.remapped.append(name)
        elif source is not None and source.shape == tensor.shape and name not in rows:
            tensor.copy_(source)
            report.copied.append(name)
        else:
            report.fresh.append(name)
    if not report.copied and not report.remapped:
        raise WeightsError(
            "nothing of the weights to start from fits this detector: no tensor has the same name "
            "and shape. Check model.backbone and model.roi_head against the config they carry."
        )
    return report
