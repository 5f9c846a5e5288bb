"""Global context: the picture as one more RoI, its vector beside that of every other one."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.heads.context import ContextHead
from rfcn.models.heads.pooled import PooledHead
from rfcn.models.heads.poolers import align_pooler, max_pooler
from rfcn.models.tail import GlobalAverage

ROIS = torch.tensor([[0.0, 0, 0, 63, 63], [1, 16, 8, 100, 90], [0, 40, 40, 44, 120]])
PICTURES = torch.tensor([[0.0, 0, 0, 143, 127], [1, 0, 0, 111, 95]])  # the second is padded


def per_roi(kind=ContextHead, *, pooler=max_pooler, box_sets=4, seed=0):
    """As Faster R-CNN C4: a convolution with stride on every RoI, then the mean."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU(), GlobalAverage())
    head = kind(pooler(14, 16), body, 10, classes=3, box_sets=box_sets)
    for layer in head.children():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    return head


def features():
    return torch.randn(2, 6, 8, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pooler", [max_pooler, align_pooler])
@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_it_is_one_layer_on_both_vectors_side_by_side(pooler, box_sets):
    """He et al.'s definition, written out RoI by RoI."""
    head = per_roi(pooler=pooler, box_sets=box_sets)
    maps = features()
    scores = torch.cat([head.scores.weight, head.context_scores.weight], dim=1)
    deltas = torch.cat([head.deltas.weight, head.context_deltas.weight], dim=1)
    logits, offsets = head(maps, ROIS, PICTURES)
    for place, roi in enumerate(ROIS):
        picture = PICTURES[int(roi[0])]
        both = torch.cat([head.body(head.pooler(maps, one[None]))[0] for one in (roi, picture)])
        assert_close(logits[place], scores @ both + head.scores.bias)
        assert_close(offsets[place].flatten(), deltas @ both + head.deltas.bias)
    described = head.describe(maps, ROIS, PICTURES)
    assert described.shape == (3, 20)
    for one, other in zip(head.judge(described), (logits, offsets), strict=True):
        assert_close(one, other)


def test_only_its_own_picture_is_context():
    head, maps = per_roi(), features()
    before = head(maps, ROIS, PICTURES).class_logits
    changed = maps.clone()
    changed[0] += 1
    after = head(changed, ROIS, PICTURES).class_logits
    assert torch.equal(before[1], after[1])
    assert not torch.isclose(before[[0, 2]], after[[0, 2]]).any()
    # Nor has the padding of the second picture, whose last cells round to column 7 and row 6.
    padded = maps.clone()
    padded[1, :, 7:] = padded[1, :, :, 8:] = 99
    assert torch.equal(head(padded, ROIS, PICTURES).class_logits, before)


def test_without_weights_for_it_context_changes_nothing():
    """So a head that was trained without it is where one with it may start."""
    head, plain = per_roi(), per_roi(PooledHead)
    missing = head.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["context_scores.weight", "context_deltas.weight"]
    nn.init.zeros_(head.context_scores.weight)
    nn.init.zeros_(head.context_deltas.weight)
    for one, other in zip(head(features(), ROIS, PICTURES), plain(features(), ROIS), strict=True):
        assert_close(one, other)


def test_every_parameter_learns_and_no_rois_give_zeros():
    head = per_roi()
    (sum(one.square().sum() for one in head(features(), ROIS, PICTURES))).backward()
    assert all(one.grad is not None and one.grad.any() for one in head.parameters())
    head.zero_grad()
    outputs = head(features(), torch.zeros(0, 5), PICTURES)
    assert [tuple(one.shape) for one in outputs] == [(0, 4), (0, 4, 4)]
    (outputs.class_logits.sum() + outputs.box_deltas.sum()).backward()
    assert all((one.grad == 0).all() for one in head.parameters())


@pytest.mark.parametrize("box_sets", [1, 4])
def test_rows_of_classes_are_those_of_both_halves(box_sets):
    rows = per_roi(box_sets=box_sets).class_rows()
    layers = {"scores", "deltas"} if box_sets == 4 else {"scores"}
    assert set(rows) == layers | {f"context_{one}" for one in layers}
    assert all(torch.equal(rows[one], rows[f"context_{one}"]) for one in layers)


def test_a_head_that_is_not_told_the_pictures_says_so():
    with pytest.raises(ValueError, match="pictures: this head reads whole pictures"):
        per_roi()(features(), ROIS)
