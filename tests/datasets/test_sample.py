from pathlib import Path

import numpy as np
import torch

from rfcn.datasets.sample import Sample
from rfcn.structures import Target


def test_size_is_height_then_width() -> None:
    target = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0).bool())
    sample = Sample(np.zeros((3, 7, 3), np.uint8), target, "a", Path("a.jpg"))
    assert sample.size == (3, 7)
    assert sample.original_size is None
