import torch
from torch import nn

from rfcn.models.initialization import gaussian, kaiming


def test_gaussian_starts_small_and_centred():
    torch.manual_seed(0)
    for layer in nn.Conv2d(64, 64, 3), nn.Conv2d(64, 300, 1, bias=False):
        gaussian(layer)
        assert abs(layer.weight.std().item() - 0.01) < 3e-4
        assert abs(layer.weight.mean().item()) < 3e-4
        assert layer.bias is None or (layer.bias == 0).all()


def test_kaiming_keeps_the_size_of_gradients():
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 3)
    kaiming(layer)
    assert abs(layer.weight.std().item() - (2 / (9 * 128)) ** 0.5) < 1e-3
    assert (layer.bias == 0).all()
