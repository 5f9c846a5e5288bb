"""The one-stage control: what its anchors are taught, and what it makes of them."""

import pytest
import torch
from torch import nn

from rfcn.boxes import iou
from rfcn.build import build_detector
from rfcn.config import schema
from rfcn.models.class_specific_rpn import ClassAnchorLoss
from rfcn.models.rpn import AnchorLoss
from rfcn.models.transfer import class_rows
from rfcn.structures import ImageBatch, Target


@pytest.fixture
def detector():
    config = schema.ClassRPN(
        type="class_rpn",
        backbone=schema.TinyBackbone(type="tiny", width=8, stride=8),
        proposer=schema.ClassAnchors(
            anchors=schema.Anchors(base_size=8, scales=(2, 4, 6)), channels=32, candidates=200
        ),
        hidden_init="kaiming",
    )
    torch.manual_seed(0)
    return build_detector(config, ["a", "b", "c"])


def a_batch(sizes=((96, 96), (96, 64))):
    torch.manual_seed(1)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    tensor = torch.randint(0, 256, (len(sizes), 3, height, width), dtype=torch.uint8)
    for picture, (bottom, right) in zip(tensor, sizes, strict=True):
        picture[:, bottom:] = 0
        picture[:, :, right:] = 0
    return ImageBatch(tensor, list(sizes), list(sizes), [str(i) for i in range(len(sizes))])


def a_target(boxes, labels):
    return Target(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
    )


TARGETS = [a_target([[10, 10, 50, 60], [60, 40, 90, 90]], [2, 3]), a_target([], [])]


def test_it_scores_every_anchor_for_every_class(detector):
    features = detector.backbone(torch.randn(1, 3, 96, 96))
    outputs = detector.proposer(features.roi)
    assert outputs.logits.shape == (1, 12 * 12 * 9, 4)
    assert outputs.deltas.shape == (1, 12 * 12 * 9, 4)


def test_positive_anchors_should_name_the_class():
    """Where the RPN wants 1, this wants the label; all else is the RPN's."""
    torch.manual_seed(0)
    anchors = torch.tensor([[0.0, 0, 40, 40], [50, 50, 90, 90], [0, 50, 40, 90]])
    logits, deltas = torch.randn(1, 3, 4), torch.zeros(1, 3, 4)
    target = a_target([[0, 0, 40, 40], [50, 50, 90, 90]], [3, 2])
    batch = a_batch([(96, 96)])
    losses = ClassAnchorLoss()((logits, deltas), anchors, batch, [target])
    expected = nn.functional.cross_entropy(logits[0], torch.tensor([3, 2, 0]))
    torch.testing.assert_close(losses["loss_rpn_cls"], expected)
    assert losses["loss_rpn_box"] == 0
    plain = AnchorLoss()((logits[..., :2], deltas), anchors, batch, [target])
    expected = nn.functional.cross_entropy(logits[0, :, :2], torch.tensor([1, 1, 0]))
    torch.testing.assert_close(plain["loss_rpn_cls"], expected)


def test_losses_with_targets_detections_without(detector):
    losses = detector(a_batch(), TARGETS)
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_box"}
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
    found = detector.eval()(a_batch())
    assert len(found) == 2
    for one, (height, width) in zip(found, a_batch().sizes, strict=True):
        assert len(one) <= 300
        assert set(one.labels.tolist()) <= {1, 2, 3}
        assert (one.boxes >= 0).all()
        assert (one.boxes[:, 2] <= width).all()
        assert (one.boxes[:, 3] <= height).all()


@torch.no_grad()
def test_no_anchor_of_the_padding_is_looked_at(detector):
    allowed = detector.anchors.in_pictures([(96, 96), (96, 64)], 12, 12)
    kept = detector._best(torch.randn(2, 12 * 12 * 9, 4), allowed)
    assert [len(one) for one in kept] == [200, 200]
    assert allowed[1, kept[1]].all()
    centres = detector.anchors(12, 12)[kept[1]].view(-1, 2, 2).mean(1)
    assert (centres[:, 0] < 64 + 8).all()


@torch.no_grad()
def test_the_surest_anchors_are_kept(detector):
    logits = torch.zeros(1, 1296, 4)
    logits[0, 700, 2] = 9
    logits[0, 50, 0] = 9  # sure of the background
    kept = detector._best(logits, torch.ones(1, 1296, dtype=torch.bool))[0]
    assert kept[0] == 700
    assert 50 not in kept


def test_it_learns(detector):
    """Sixty steps on one picture: both objects found, by their classes."""
    batch, target = a_batch([(96, 96)]), TARGETS[0]
    with torch.no_grad():
        batch.tensor[0] = 0
        batch.tensor[0, 0, 10:60, 10:50] = 255
        batch.tensor[0, 1, 40:90, 60:90] = 255
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        sum(detector(batch, [target]).values()).backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 10)
        optimizer.step()
    [found] = detector.eval()(batch)
    for box, label in zip(target.boxes, target.labels, strict=True):
        best = found.boxes[found.labels == label][:1]
        assert iou(best, box[None]).item() > 0.5


def test_class_rows_are_those_of_the_classifier(detector):
    """Row s * A + a scores class s: background first, as in the RPN."""
    rows = class_rows(detector)["proposer.scores.weight"]
    assert rows.shape == (4, 9)
    detector.proposer.scores.weight.data.zero_()
    detector.proposer.scores.bias.data = torch.arange(36.0)
    logits = detector.proposer(torch.zeros(1, 32, 1, 1)).logits
    assert logits[0].t().long().tolist() == rows.tolist()
