import torch
from torch import nn

from rfcn.models.initialization import small_gaussian


def test_every_layer_starts_small_and_centred():
    torch.manual_seed(0)
    layers = nn.Conv2d(64, 64, 3), nn.Conv2d(64, 300, 1, bias=False)
    small_gaussian(*layers)
    for layer in layers:
        assert abs(layer.weight.std().item() - 0.01) < 3e-4
        assert abs(layer.weight.mean().item()) < 3e-4
    assert (layers[0].bias == 0).all()
