import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.heads.light import LargeSeparableConv, LightHead
from rfcn.models.heads.poolers import PositionSensitiveAlign, PositionSensitivePooler
from rfcn.ops.psroi_pool import psroi_pool

ROIS = torch.tensor([[0.0, 0, 0, 63, 63], [1, 16, 8, 100, 90], [0, 40, 40, 44, 120]])


def a_head(*, pooler=PositionSensitivePooler, k=3, box_sets=1):
    torch.manual_seed(0)
    return LightHead(
        6, classes=4, pooler=pooler(k, 16), channels=5, middle=7, hidden=11, box_sets=box_sets
    )


def test_published_sizes():
    """Section 3: 10 x 7 x 7 thin maps, 15 x 1 and 1 x 15 of 256, one layer of 2048."""
    with torch.device("meta"):
        head = LightHead(2048, classes=80, pooler=PositionSensitivePooler(7, 16))
    thin = head.thin_maps
    assert thin.down.out_channels == thin.across.out_channels == 256
    assert thin.down_across.out_channels == thin.across_down.out_channels == 490
    assert (thin.down.kernel_size, thin.across.kernel_size) == ((15, 1), (1, 15))
    assert (head.head.body[1].in_features, head.head.body[1].out_features) == (490, 2048)
    assert head.head.scores.out_features == 81


def test_the_window_is_a_square_of_both_orders():
    """An impulse reaches 15 x 15 cells, and a sum of two separable kernels is what lies there."""
    layer = LargeSeparableConv(1, 1, 1, size=15)
    for one in layer.children():
        nn.init.uniform_(one.weight, 0.5, 1)
        nn.init.zeros_(one.bias)
    x = torch.zeros(1, 1, 31, 31)
    x[0, 0, 15, 15] = 1
    found = layer(x)[0, 0]
    rows, columns = found.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 22, 8, 22)
    first = layer.down.weight.flatten()[:, None] * layer.down_across.weight.flatten()[None]
    second = layer.across_down.weight.flatten()[:, None] * layer.across.weight.flatten()[None]
    assert_close(found[8:23, 8:23], (first + second).flip(0, 1))


@pytest.mark.parametrize("pooler", [PositionSensitivePooler, PositionSensitiveAlign])
@pytest.mark.parametrize("box_sets", [1, 2, 5])
def test_outputs_have_the_promised_shapes(pooler, box_sets):
    head = a_head(pooler=pooler, box_sets=box_sets)
    assert head.inclusive_corners == (pooler is PositionSensitivePooler)
    features = torch.randn(2, 6, 8, 9)
    outputs = head(features, ROIS)
    assert outputs.class_logits.shape == (3, 5)
    assert outputs.box_deltas.shape == (3, box_sets, 4)
    assert head(features, torch.zeros(0, 5)).class_logits.shape == (0, 5)


def test_bins_are_read_from_their_own_maps():
    head = a_head()
    features = torch.randn(2, 6, 8, 9)
    rows = head.thin_maps(features)  # (i, j, c)
    planes = rows.unflatten(1, (9, 5)).transpose(1, 2).flatten(1, 2)  # (c, i, j)
    pooled = psroi_pool(planes, ROIS, 3, 1 / 16)
    expected = head.head.scores(head.head.body(pooled))
    assert_close(head(features, ROIS).class_logits, expected)


def test_every_parameter_learns():
    head = a_head()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    logits, deltas = head(torch.randn(2, 6, 8, 9), ROIS)
    (logits.square().sum() + deltas.square().sum()).backward()
    assert all(one.grad is not None and one.grad.any() for one in head.parameters())
