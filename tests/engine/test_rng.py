import random

import numpy as np
import torch

from rfcn.engine.rng import capture_rng, restore_rng


def draw() -> list[float]:
    gauss = [random.gauss(0, 1), float(np.random.randn())]  # both keep a spare value
    return [*gauss, random.random(), float(np.random.rand()), *torch.rand(3).tolist()]


def test_every_generator_goes_on_from_where_it_was(tmp_path):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    draw()
    torch.save(capture_rng(), tmp_path / "state")
    expected = draw()
    draw()
    restore_rng(torch.load(tmp_path / "state", weights_only=True))
    assert draw() == expected
