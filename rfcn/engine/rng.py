"""The state of every global random generator, as tensors and numbers a checkpoint may hold."""

import random
from typing import Any

import numpy as np
import torch


def capture_rng() -> dict[str, Any]:
    """The state of Python's, NumPy's and PyTorch's global generators (CPU and every GPU)."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    words = numpy["state"]["key"].tolist()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {"key": words, "pos": int(numpy["state"]["pos"])}},
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Put back what `capture_rng` took; GPUs beyond those of this machine are passed over."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    inner = state["numpy"]["state"]
    key = np.array(inner["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {"key": key, "pos": inner["pos"]}})
    torch.set_rng_state(state["torch"].cpu())
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator.cpu(), device)
