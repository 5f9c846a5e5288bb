import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.deformable import OFFSET_GROUPS, DeformableConv2d


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return nn.Conv2d(8, 6, 3, padding=2, dilation=2, bias=False)


def test_it_starts_as_the_plain_convolution(plain):
    layer = DeformableConv2d(plain)
    x = torch.randn(2, 8, 7, 9)
    assert_close(layer(x), plain(x))
    assert layer.offset.out_channels == 2 * 9 * OFFSET_GROUPS == 72  # as released
    assert not any(one.any() for one in layer.offset.parameters())
    assert (layer.offset.dilation, layer.offset.padding) == ((2, 2), (2, 2))


def test_an_offset_of_one_cell_reads_the_next(plain):
    """Offsets come as (y, x) of each tap: x + 1 everywhere is the map moved by a cell."""
    layer = DeformableConv2d(plain)
    with torch.no_grad():
        layer.offset.bias.view(-1, 2)[:, 1] = 1
    x = torch.randn(1, 8, 7, 9)
    moved = torch.zeros_like(x)
    moved[..., :-1] = x[..., 1:]
    assert_close(layer(x)[..., 2:-3], plain(moved)[..., 2:-3])


def test_offsets_learn(plain):
    layer = DeformableConv2d(plain)
    layer(torch.randn(1, 8, 7, 9)).square().sum().backward()
    assert layer.offset.weight.grad.any()
    assert layer.weight.grad.any()


def test_the_weights_keep_their_names(plain):
    assert set(DeformableConv2d(plain).state_dict()) == {"weight", "offset.weight", "offset.bias"}
