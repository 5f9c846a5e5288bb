"""Parts of a detector that learn while the others stay."""

import copy

import pytest
import torch
from torch import nn

from rfcn.build import build_detector
from rfcn.config import schema
from rfcn.models.alternating import FrozenRPN, HeadTraining, RPNTraining, parts_of
from rfcn.structures import ImageBatch, Target

LIVE = schema.TinyBackbone(type="tiny", width=8, stride=8, norm="batch")


@pytest.fixture
def detector(tiny_detector):
    return tiny_detector(backbone=LIVE)


def batch():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[4.0, 4, 40, 48], [20, 16, 60, 60]])
    target = Target(boxes, torch.tensor([1, 3]), torch.zeros(2, dtype=torch.bool))
    return ImageBatch(pixels, [(64, 64)], [(64, 64)]), [target]


def learnable(detector):
    return [one for one in detector.parameters() if one.requires_grad]


def moved_by_a_step(detector, training):
    """The names of the state that a step with heavy weight decay changes."""
    before = {name: one.clone() for name, one in detector.state_dict().items()}
    training.train()
    learns = [one for one in detector.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(learns, lr=0.1, weight_decay=0.5)
    losses = training(*batch())
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    after = detector.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}, set(losses)


def names(detector, *parts):
    """Whatever of the state belongs to these parts, but marks."""
    own = {
        id(module) for part in parts for top in parts_of(detector)[part] for module in top.modules()
    }
    return {
        f"{prefix}.{name}"
        for prefix, module in detector.named_modules()
        if id(module) in own
        for name in (
            *dict(module.named_parameters(recurse=False)),
            *dict(module.named_buffers(recurse=False)),
        )
        if f"{prefix}.{name}" in detector.state_dict()
    }


@pytest.mark.parametrize(
    "section",
    [
        schema.Model(backbone=LIVE),
        schema.Model(backbone=LIVE, roi_head=schema.C4FRCNN(type="c4_frcnn")),
        schema.Model(
            backbone=schema.VGG16Backbone(type="vgg16", weights="none"),
            roi_head=schema.FCFRCNN(type="fc_frcnn"),
        ),
        schema.Model(backbone=schema.ResNetBackbone(depth=18, weights="none")),
    ],
    ids=["tiny", "conv5 in the head", "vgg16", "resnet"],
)
def test_every_parameter_belongs_to_one_part(section) -> None:
    with torch.device("meta"):
        detector = build_detector(section, ["a", "b"], pretrained=False)
    parts = parts_of(detector)
    found = [one for modules in parts.values() for top in modules for one in top.parameters()]
    assert sorted(map(id, found)) == sorted(map(id, detector.parameters()))
    assert all(any(True for top in modules for _ in top.parameters()) for modules in parts.values())


@pytest.mark.parametrize("parts", [("shared", "rpn"), ("rpn",)])
def test_an_rpn_learns_and_the_head_is_not_touched(detector, parts) -> None:
    training = RPNTraining(detector, parts, learnable(detector))
    moved, losses = moved_by_a_step(detector, training)
    assert losses == {"loss_rpn_cls", "loss_rpn_box"}
    assert moved == names(detector, *parts) - {"normalize.mean", "normalize.std"}


@pytest.mark.parametrize("parts", [("shared", "head"), ("head",)])
@pytest.mark.parametrize("own_rpn", [True, False])
def test_a_head_learns_and_the_rpn_is_not_touched(detector, parts, own_rpn: bool) -> None:
    earlier = None if own_rpn else FrozenRPN(copy.deepcopy(detector))
    training = HeadTraining(detector, parts, learnable(detector), earlier)
    moved, losses = moved_by_a_step(detector, training)
    assert losses == {"loss_cls", "loss_box"}
    assert moved == names(detector, *parts) - {"normalize.mean", "normalize.std"}


def test_the_losses_are_those_of_joint_training(tiny_detector) -> None:
    detector = tiny_detector()
    joint = detector(*batch())
    rpn = RPNTraining(detector, ("shared", "rpn"), learnable(detector))(*batch())
    head = HeadTraining(detector, ("shared", "head"), learnable(detector))(*batch())
    assert {**rpn, **head} == joint


def test_what_is_frozen_for_good_stays_so(tiny_detector) -> None:
    detector = tiny_detector()
    detector.backbone.conv1.requires_grad_(False)
    may = learnable(detector)
    HeadTraining(detector, ("head",), may)
    assert not any(one.requires_grad for one in detector.backbone.conv2.parameters())
    RPNTraining(detector, ("shared", "rpn"), may)
    assert all(one.requires_grad for one in detector.backbone.conv2.parameters())
    assert not detector.backbone.conv1.weight.requires_grad


def test_no_gradient_of_an_earlier_stage_is_left(detector) -> None:
    may = learnable(detector)
    moved_by_a_step(detector, RPNTraining(detector, ("shared", "rpn"), may))
    HeadTraining(detector, ("head",), may)
    assert all(one.grad is None for one in detector.parameters())


def test_proposals_of_another_rpn_do_not_follow_the_detector(detector) -> None:
    """And come from convolutions in evaluation mode, whatever the loop asks for."""
    earlier = FrozenRPN(copy.deepcopy(detector))
    training = HeadTraining(detector, ("shared", "head"), learnable(detector), earlier).train()
    assert not any(module.training for module in earlier.modules())
    assert not any(one.requires_grad for one in earlier.parameters())
    before = earlier(batch()[0])
    for one in detector.parameters():
        nn.init.zeros_(one)
    after = earlier(batch()[0])
    assert len(before[0]) > 5
    assert torch.equal(before[0], after[0])
    assert training.detector.backbone.training
