import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.models.anchors import AnchorGrid
from rfcn.models.rpn import (
    AnchorLoss,
    ProposalSelector,
    RegionProposalNetwork,
    RPNHead,
    RPNOutputs,
)
from rfcn.structures import Features, ImageBatch, Target

NO_BOXES = torch.zeros(0, 4)


def batch_of(*sizes, original_sizes=None):
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    pixels = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    return ImageBatch(pixels, list(sizes), list(original_sizes or sizes))


def target_of(*boxes, seed=0):
    count = len(boxes)
    return Target(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.ones(count, dtype=torch.int64),
        torch.zeros(count, dtype=torch.bool),
        seed,
    )


# ---------------------------------------------------------------------------------------- head


def test_the_numbers_of_an_anchor_come_from_its_own_channels():
    """Cell by cell, row by row; of the scores, the first A channels are background."""
    head = RPNHead(5, 7, 3)
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    logits, deltas = head(features)
    assert logits.shape == (2, 4 * 6 * 3, 2)
    assert deltas.shape == (2, 4 * 6 * 3, 4)
    hidden = head.conv(features).relu()
    scores, offsets = head.scores(hidden), head.deltas(hidden)
    for picture, row, column, anchor in [(0, 0, 0, 0), (1, 2, 5, 1), (0, 3, 1, 2)]:
        index = (row * 6 + column) * 3 + anchor
        cell = (picture, slice(None), row, column)
        assert_close(logits[picture, index], scores[cell][[anchor, 3 + anchor]])
        assert_close(deltas[picture, index], offsets[cell][4 * anchor : 4 * anchor + 4])


def test_published_channels_and_initial_weights():
    head = RPNHead(1024, 512, 9)
    assert head.conv.weight.shape == (512, 1024, 3, 3)
    assert head.scores.out_channels == 18
    assert head.deltas.out_channels == 36
    for layer in (head.conv, head.scores, head.deltas):
        assert abs(layer.weight.std().item() - 0.01) < 1e-3
        assert (layer.bias == 0).all()


# ----------------------------------------------------------------------------------- proposals


def select(selector, scores, deltas, anchors, batch, count):
    tensors = (torch.as_tensor(one, dtype=torch.float32) for one in (scores, deltas, anchors))
    return selector(*tensors, batch, count)


def test_proposals_equal_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(0)
    total = 0
    for _ in range(1000):
        anchors = oracles.random_boxes(rng, 30, 60)
        scores = rng.normal(0, 2, 30).astype(np.float32)
        scores[rng.random(30) < 0.1] = -np.inf
        deltas = rng.normal(0, 0.5, (30, 4)).astype(np.float32)
        height, width = rng.integers(30, 80, 2).tolist()
        enlarged = rng.choice([0.5, 1, 2])  # of the original picture
        minimum = float(rng.choice([0, 4, 12]))
        candidates, count = int(rng.integers(1, 40)), int(rng.integers(1, 20))
        selector = ProposalSelector(min_size=minimum, candidates=candidates, nms_threshold=0.5)
        batch = batch_of((height, width), original_sizes=[(height / enlarged, width / enlarged)])
        [found] = select(selector, scores[None], deltas[None], anchors, batch, count)
        expected = oracles.propose(
            scores.tolist(), deltas.tolist(), anchors.tolist(), height, width,
            minimum * enlarged, candidates, 0.5, count,
        )  # fmt: skip
        total += len(expected)
        assert_close(
            found, torch.tensor(expected, dtype=torch.float32).view(-1, 4), rtol=1e-5, atol=1e-3
        )
    assert total > 3000


def test_proposals_may_be_none():
    """T7: all too small; no anchor on the picture; all squeezed out of it."""
    anchors = [[0.0, 0, 8, 8], [8, 8, 16, 16]]
    zeros = torch.zeros(1, 2, 4)
    batch = batch_of((16, 16))
    picky = ProposalSelector(min_size=9)
    assert select(picky, [[1, 2]], zeros, anchors, batch, 10)[0].shape == (0, 4)
    plain = ProposalSelector()
    nowhere = [[-math.inf, -math.inf]]
    assert select(plain, nowhere, zeros, anchors, batch, 10)[0].shape == (0, 4)
    away = torch.full((1, 2, 4), 50.0)
    assert select(plain, [[1, 2]], away, anchors, batch, 10)[0].shape == (0, 4)


@pytest.mark.parametrize("wild", [1e4, -1e4, math.inf, math.nan])
def test_wild_offsets_leave_boxes_inside_the_picture(wild):
    """T8."""
    anchors = [[0.0, 0, 8, 8], [4, 4, 12, 12]]
    deltas = torch.zeros(1, 2, 4)
    deltas[0, 0] = wild
    [found] = select(ProposalSelector(), [[2.0, 1]], deltas, anchors, batch_of((16, 16)), 10)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert (found <= 16).all()
    assert (found[:, 2:] > found[:, :2]).all()
    assert [4, 4, 12, 12] in found.tolist()  # the sane one survives


def test_a_score_that_is_no_number_proposes_nothing():
    anchors = [[0.0, 0, 8, 8], [8, 8, 16, 16]]
    scores = [[math.nan, 1.0]]
    [found] = select(
        ProposalSelector(), scores, torch.zeros(1, 2, 4), anchors, batch_of((16, 16)), 10
    )
    assert found.tolist() == [[8, 8, 16, 16]]


# ---------------------------------------------------------------------------------------- loss


def random_outputs(pictures, anchors, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return RPNOutputs(
        torch.randn(pictures, anchors, 2, generator=generator, requires_grad=True),
        torch.randn(pictures, anchors, 4, generator=generator, requires_grad=True),
    )


def test_loss_equals_the_slow_version_when_nothing_is_left_out(oracles):
    rng = np.random.default_rng(0)
    for case in range(200):
        anchors = oracles.random_boxes(rng, 25, 50)
        boxes = oracles.random_boxes(rng, rng.integers(0, 4), 50)
        outputs = random_outputs(1, 25, seed=case)
        losses = AnchorLoss(batch=10_000)(
            outputs, torch.from_numpy(anchors), batch_of((60, 60)), [target_of(*boxes.tolist())]
        )
        labels = oracles.label_anchors(anchors.tolist(), boxes.tolist(), 60, 60, 0.7, 0.3)
        targets = [
            oracles.encode(boxes[oracles.best_box(anchor, boxes.tolist())[0]].tolist(), anchor)
            if label == 1
            else [0, 0, 0, 0]
            for anchor, label in zip(anchors.tolist(), labels, strict=True)
        ]
        expected = oracles.rpn_loss(
            outputs.logits[0].tolist(), outputs.deltas[0].tolist(), labels, targets, 3
        )
        assert losses["loss_rpn_cls"].item() == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
        assert losses["loss_rpn_box"].item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


def test_loss_looks_at_a_batch_of_anchors_chosen_by_the_target_alone():
    anchors = AnchorGrid(base_size=8, scales=(1, 2), stride=8)(10, 10)
    loss = AnchorLoss(batch=32)
    batch = batch_of((80, 80), (80, 80))
    targets = [target_of((10, 10, 30, 30), seed=1), target_of(seed=2)]

    def looked_at(order):
        outputs = random_outputs(2, len(anchors))
        losses = loss(outputs, anchors, batch, [targets[one] for one in order])
        losses["loss_rpn_cls"].backward()
        touched = (outputs.logits.grad != 0).any(2)
        return [touched[order.index(picture)] for picture in (0, 1)]

    one, other = looked_at([0, 1]), looked_at([1, 0])
    assert [each.sum().item() for each in one] == [32, 32]
    for there, here in zip(one, other, strict=True):
        assert torch.equal(there, here)


def test_loss_of_two_pictures_is_the_average():
    anchors = AnchorGrid(base_size=8, scales=(1, 2), stride=8)(6, 6)
    outputs = random_outputs(2, len(anchors))
    targets = [target_of((10, 10, 30, 30), seed=1), target_of((4, 4, 12, 12), seed=2)]
    loss = AnchorLoss()
    together = loss(outputs, anchors, batch_of((48, 48), (40, 48)), targets)
    apart = [
        loss(
            RPNOutputs(*(one[i : i + 1] for one in outputs)), anchors, batch_of(size), [targets[i]]
        )
        for i, size in enumerate([(48, 48), (40, 48)])
    ]
    for name in ("loss_rpn_cls", "loss_rpn_box"):
        assert_close(together[name], (apart[0][name] + apart[1][name]) / 2)


def test_loss_in_half_precision():
    """Under autocast the head answers in bfloat16, the anchors stay float32."""
    anchors = AnchorGrid(base_size=8, scales=(1, 2), stride=8)(6, 6)
    full = random_outputs(1, len(anchors))
    half = RPNOutputs(*(one.bfloat16() for one in full))
    arguments = anchors, batch_of((48, 48)), [target_of((10, 10, 30, 30))]
    exact, rounded = AnchorLoss()(full, *arguments), AnchorLoss()(half, *arguments)
    for name, value in rounded.items():
        assert_close(value.float(), exact[name], rtol=0.02, atol=0)


# ---------------------------------------------------------------------------------------- whole


def small_rpn(**changes):
    torch.manual_seed(0)
    anchors = AnchorGrid(base_size=16, scales=(2, 3), stride=16)  # all reach beyond their cell
    parts = {
        "head": RPNHead(4, 8, len(anchors)),
        "anchors": anchors,
        "loss": AnchorLoss(),
        "select": ProposalSelector(),
        "train_proposals": 20,
        "test_proposals": 10,
    }
    return RegionProposalNetwork(**{**parts, **changes})


def features_for(batch):
    n, _, height, width = batch.tensor.shape
    maps = torch.randn(n, 4, -(-height // 16), -(-width // 16)) * 50
    return Features(rpn=maps.requires_grad_(), roi=torch.zeros(0))


def test_targets_decide_what_comes_back_not_the_mode():
    rpn = small_rpn()
    batch = batch_of((128, 128))
    features = features_for(batch)
    for mode in (True, False):
        rpn.train(mode)
        proposals, losses = rpn(batch, features)
        assert losses == {}
        assert proposals[0].shape == (10, 4)
        proposals, losses = rpn(batch, features, [target_of((10, 10, 40, 40))])
        assert set(losses) == {"loss_rpn_cls", "loss_rpn_box"}
        assert proposals[0].shape == (20, 4)


def test_half_of_a_training_step_is_that_half():
    rpn, batch = small_rpn(), batch_of((128, 128))
    features, targets = features_for(batch), [target_of((10, 10, 40, 40))]
    proposals, losses = rpn(batch, features, targets)
    assert torch.equal(rpn.propose(batch, features.rpn)[0], proposals[0])
    assert rpn.losses(batch, features.rpn, targets) == losses


def test_the_surest_object_is_proposed_first():
    """Object minus background decides, not the object's logit alone."""
    outputs = RPNOutputs(torch.tensor([[[0.0, 1], [9, 5], [-5, 0]]]), torch.zeros(1, 3, 4))
    anchors = AnchorGrid(base_size=16, scales=(0.25, 0.5, 1), ratios=(1,), stride=16)
    rpn = small_rpn(head=lambda _: outputs, anchors=anchors)
    [found], _ = rpn(batch_of((16, 16)), Features(torch.zeros(1, 4, 1, 1), torch.zeros(0)))
    assert found.tolist() == [[0, 0, 16, 16], [6, 6, 10, 10], [4, 4, 12, 12]]


def test_no_gradient_through_proposals():
    proposals, _ = small_rpn()(batch := batch_of((64, 64)), features_for(batch))
    assert not proposals[0].requires_grad


def test_proposals_lie_on_their_picture_and_come_from_its_cells():
    """Wherever it scores highest, a cell on the padding proposes nothing, not even clipped."""
    batch = batch_of((33, 128), (128, 17), (64, 128), (128, 80), (128, 128), (1, 1))
    rpn = small_rpn(select=ProposalSelector(nms_threshold=1), test_proposals=10_000)
    n, _, height, width = batch.tensor.shape
    cells = torch.zeros(n, 4, height // 16, width // 16)
    proposals, _ = rpn(batch, Features(rpn=cells, roi=cells))
    anchors = len(rpn.anchors)
    for boxes, (h, w) in zip(proposals, batch.sizes, strict=True):
        assert boxes.shape[0] == math.ceil(h / 16) * math.ceil(w / 16) * anchors
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= w).all()
        assert (boxes[:, [1, 3]] <= h).all()
