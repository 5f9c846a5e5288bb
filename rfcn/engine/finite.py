"""Which tensor holds a NaN or an infinity."""

from collections.abc import Mapping
from typing import Any

import torch


def first_non_finite(tree: Any, path: str = "") -> str | None:
    """Dotted name of the first tensor in nested dicts and lists that holds NaN or infinity."""
    if isinstance(tree, torch.Tensor):
        bad = tree.is_floating_point() and not bool(tree.isfinite().all())
        return (path or "the tensor") if bad else None
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list | tuple):
        items = list(enumerate(tree))
    else:
        return None
    for key, value in items:
        found = first_non_finite(value, f"{path}.{key}" if path else str(key))
        if found is not None:
            return found
    return None
