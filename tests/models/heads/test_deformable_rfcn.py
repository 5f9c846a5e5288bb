import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.heads.deformable_rfcn import DeformableRFCNHead
from rfcn.ops.deform_psroi_pool import deform_psroi_pool

ROIS = torch.tensor([[0.0, 0, 0, 63, 63], [1, 16, 8, 100, 90], [0, 40, 40, 44, 120]])


def a_head(*, k=3, box_sets=2, moved=True):
    """A small head whose maps are far from zero, and its offsets too where wanted."""
    torch.manual_seed(0)
    head = DeformableRFCNHead(6, classes=3, k=k, reduction=8, box_sets=box_sets)
    for name, parameter in head.named_parameters():
        if moved or "offsets" not in name:
            nn.init.normal_(parameter)
    return head


def test_published_channels():
    """rfcn.md B3: 2 x 49 x (C + 1) offset maps for scores, 2 x 49 for boxes, from zero."""
    head = DeformableRFCNHead(16, classes=20)
    assert (head.score_maps.out_channels, head.box_maps.out_channels) == (1029, 392)
    assert (head.score_offsets.out_channels, head.box_offsets.out_channels) == (2058, 98)
    for layer in (head.score_offsets, head.box_offsets):
        assert not any(one.any() for one in layer.parameters())


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_outputs_have_the_promised_shapes(k, box_sets):
    head = a_head(k=k, box_sets=box_sets)
    features = torch.randn(2, 6, 8, 9)
    outputs = head(features, ROIS)
    assert outputs.class_logits.shape == (3, 4)
    assert outputs.box_deltas.shape == (3, box_sets, 4)
    assert outputs.class_logits.isfinite().all()
    assert head(features, torch.zeros(0, 5)).class_logits.shape == (0, 4)
    maps, bins = head.bins(features, ROIS)
    assert maps.shape == (2, 4, k, k, 8, 9)
    assert_close(bins.mean((2, 3)), outputs.class_logits)


def test_without_offsets_bins_stay():
    head = a_head(moved=False)
    features = torch.randn(2, 6, 8, 9)
    maps, bins = head.bins(features, ROIS)
    assert_close(bins, deform_psroi_pool(maps, ROIS, None, 3, 1 / 16))


def test_each_class_has_its_own_offsets_and_boxes_share_theirs():
    """A constant offset map shifts every bin of its class by 0.1 of the RoI, and no other's."""
    head = a_head(moved=False)
    features = torch.randn(2, 6, 8, 9)
    with torch.no_grad():
        head.score_offsets.bias.view(9, 4, 2)[:, 2, 0] = 1  # class 2, along x
    maps, bins = head.bins(features, ROIS)
    still = deform_psroi_pool(maps, ROIS, None, 3, 1 / 16)
    right = torch.zeros(3, 1, 2, 3, 3)
    right[:, :, 0] = 1
    moved = deform_psroi_pool(maps, ROIS, right, 3, 1 / 16)
    assert_close(bins[:, [0, 1, 3]], still[:, [0, 1, 3]])
    assert_close(bins[:, 2], moved[:, 2])
    assert not torch.allclose(still[:, 2], moved[:, 2])
    before = head(features, ROIS).box_deltas
    with torch.no_grad():
        head.box_offsets.bias.view(9, 2)[:, 1] = 1
    assert not torch.isclose(head(features, ROIS).box_deltas, before).any(dim=0).all()


def test_offsets_learn_from_zero():
    head = a_head(moved=False)
    logits, deltas = head(torch.randn(2, 6, 8, 9), ROIS)
    (logits.square().sum() + deltas.square().sum()).backward()
    for layer in (head.score_offsets, head.box_offsets):
        assert layer.weight.grad.any()
    assert all(one.grad is not None for one in head.parameters())


def test_class_rows_hold_the_offsets_too():
    head = a_head()
    rows = head.class_rows()["score_offsets"]
    assert rows.shape == (4, 2 * 9)
    assert rows[1].view(9, 2)[4].tolist() == [(4 * 4 + 1) * 2, (4 * 4 + 1) * 2 + 1]
    assert sorted(rows.flatten().tolist()) == list(range(head.score_offsets.out_channels))
