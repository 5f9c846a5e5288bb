import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import align_pooler, max_pooler
from rfcn.models.tail import GlobalAverage

ROIS = torch.tensor([[0.0, 0, 0, 63, 63], [1, 16, 8, 100, 90], [0, 40, 40, 44, 120]])


def naive(*, size=7, pooler=max_pooler, box_sets=4):
    torch.manual_seed(0)
    return PooledHead(pooler(size, 16), nn.Flatten(), 6 * size * size, classes=3, box_sets=box_sets)


def per_roi():
    """As Faster R-CNN C4: a convolution with stride on every RoI, then the mean."""
    body = nn.Sequential(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU(), GlobalAverage())
    return PooledHead(max_pooler(14, 16), body, 10, classes=3, box_sets=4)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("pooler", [max_pooler, align_pooler])
@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_outputs_have_the_promised_shapes(size, pooler, box_sets):
    head = naive(size=size, pooler=pooler, box_sets=box_sets)
    features = torch.randn(2, 6, 8, 9)
    outputs = head(features, ROIS)
    assert outputs.class_logits.shape == (3, 4)
    assert outputs.box_deltas.shape == (3, box_sets, 4)
    nothing = head(features, torch.zeros(0, 5))
    assert nothing.class_logits.shape == (0, 4)
    assert nothing.box_deltas.shape == (0, box_sets, 4)


def test_the_body_runs_on_every_roi():
    head = per_roi()
    features = torch.randn(2, 6, 8, 9)
    together = head(features, ROIS)
    for place, roi in enumerate(ROIS):
        alone = head(features, roi[None])
        assert_close(together.class_logits[place], alone.class_logits[0])
        assert_close(together.box_deltas[place], alone.box_deltas[0])


def test_scores_by_hand():
    """Constant features: a bin is the constant, a score its sum over channels times the weights."""
    head = naive(size=1)
    head.scores.weight.data = torch.arange(24.0).view(4, 6)
    head.scores.bias.data = torch.tensor([0.0, 1, 2, 3])
    features = torch.ones(1, 6, 8, 9) * 2
    logits = head(features, ROIS[:1]).class_logits
    assert logits.tolist() == [[30, 103, 176, 249]]


def test_published_initial_weights():
    """Fast R-CNN, section 2.3: deviations of 0.01 and 0.001."""
    head = naive(size=14)
    assert abs(head.scores.weight.std().item() - 0.01) < 1e-3
    assert abs(head.deltas.weight.std().item() - 0.001) < 1e-4


@pytest.mark.parametrize("make", [naive, per_roi])
def test_every_parameter_learns(make):
    head = make()
    nn.init.normal_(head.deltas.weight)
    logits, deltas = head(torch.randn(2, 6, 8, 9), ROIS)
    (logits.square().sum() + deltas.square().sum()).backward()
    assert all(one.grad is not None and one.grad.any() for one in head.parameters())


@pytest.mark.parametrize("make", [naive, per_roi])
def test_no_rois_give_zero_gradients_not_none(make):
    head = make()
    logits, deltas = head(torch.randn(1, 6, 8, 9), torch.zeros(0, 5))
    (logits.sum() + deltas.sum()).backward()
    assert all((one.grad == 0).all() for one in head.parameters())


@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_class_rows_name_what_belongs_to_a_class(box_sets):
    head = naive(box_sets=box_sets)
    rows = head.class_rows()
    assert rows["scores"].tolist() == [[0], [1], [2], [3]]
    assert ("deltas" in rows) == (box_sets == 4)
    if box_sets == 4:
        head.deltas.bias.data = torch.arange(16.0)
        head.deltas.weight.data.zero_()
        deltas = head(torch.zeros(2, 6, 8, 9), ROIS).box_deltas
        assert deltas[0].long().tolist() == rows["deltas"].tolist()
