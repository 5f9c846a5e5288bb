import pytest
import torch
from torch import nn

from rfcn.build import (
    build_detector,
    build_roi_loss,
    is_new_layer,
)
from rfcn.config import schema
from rfcn.models.losses import MeanLoss, OnlineHardExampleLoss
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.models.resnet import ResNet
from rfcn.models.sampling import AllRoIs, RandomRoIs
from rfcn.models.tiny import TinyBackbone

VOC = [f"class{number}" for number in range(20)]
COCO = [f"class{number}" for number in range(80)]


def on_meta(config, names=VOC):
    """A detector without memory."""
    with torch.device("meta"):
        return build_detector(config, names, pretrained=False)


def model(**sections):
    return schema.Model(**sections)


# ------------------------------------------------------------------------- the published config


def test_published_trainable_set():
    """rfcn.md B3b: res3 to res5, the RPN, the reduction and the two kinds of maps; no norm."""
    detector = on_meta(model())
    trained = {name for name, one in detector.named_parameters() if one.requires_grad}
    parts = {".".join(name.split(".")[:2]) for name in trained}
    assert parts == {
        "backbone.layer2",
        "backbone.layer3",
        "backbone.layer4",
        "proposer.head",
        "roi_head.reduce",
        "roi_head.score_maps",
        "roi_head.box_maps",
    }
    frozen = {name for name, _ in detector.named_parameters()} - trained
    assert {name.split(".")[1] for name in frozen} == {"conv1", "layer1"}
    assert all("conv" in name or "downsample.0" in name for name in trained if "backbone" in name)


@pytest.mark.parametrize(("names", "scores"), [(VOC, 1029), (COCO, 3969)])
def test_published_head(names, scores):
    detector = on_meta(model(), names)
    head = detector.roi_head
    assert head.reduce.in_channels == 2048
    assert (head.score_maps.out_channels, head.box_maps.out_channels) == (scores, 392)
    assert detector.proposer.head.conv.in_channels == 1024
    assert len(detector.proposer.anchors) == 9


def test_published_settings_arrive_where_they_work():
    detector = on_meta(model())
    rpn = detector.proposer
    assert (rpn.train_proposals, rpn.test_proposals) == (300, 300)
    assert (rpn.select.candidates, rpn.select.nms_threshold, rpn.select.min_size) == (6000, 0.7, 0)
    assert (rpn.loss.positive_iou, rpn.loss.negative_iou) == (0.7, 0.3)
    assert (rpn.loss.batch, rpn.loss.positive_fraction, rpn.loss.sigma) == (256, 0.5, 3)
    assert isinstance(detector.roi_loss, OnlineHardExampleLoss)
    assert (detector.roi_loss.kept, detector.roi_loss.box_weight) == (128, 1)
    assert detector.sampler.foreground_iou == 0.5
    assert detector.sampler.box_std == detector.postprocess.box_std == (0.1, 0.1, 0.2, 0.2)
    post = detector.postprocess
    assert (post.score_threshold, post.max_detections) == (1e-3, 300)
    assert vars(post.suppression) == {"threshold": 0.3}
    assert (detector.roi_head.k, detector.roi_head.pooler.stride) == (7, 16)


def unusual():
    """A config whose every value differs from its default and from every other."""
    return model(
        backbone=schema.TinyBackbone(type="tiny", width=8, stride=8, norm="batch"),
        proposer=schema.RPN(
            anchors=schema.Anchors(base_size=8, scales=(1, 2), ratios=(1,)),
            channels=24, positive_iou=0.61, negative_iou=0.22, batch=33, positive_fraction=0.4,
            box_loss_sigma=2, nms_threshold=0.66, candidates=77, train_proposals=44,
            test_proposals=55, min_size=3,
        ),
        roi_head=schema.RFCN(k=2, reduction=12, box_sets="class_aware"),
        roi_loss=schema.Sampled(
            type="sampled", rois=21, foreground_fraction=0.3, foreground_iou=0.58,
            background_iou=0.12,
        ),
        box_std=(1.0, 2.0, 3.0, 4.0),
        box_loss_weight=2.5,
        postprocess=schema.PostProcess(score_threshold=0.05, nms_threshold=0.45, max_detections=9),
        pixel_mean=(1.0, 2.0, 3.0),
        pixel_std=(4.0, 5.0, 6.0),
    )  # fmt: skip


def test_unusual_settings_arrive_where_they_work():
    detector = build_detector(unusual(), ["a", "b"])
    rpn = detector.proposer
    assert rpn.anchors.base.tolist() == [[0, 0, 8, 8], [-4, -4, 12, 12]]
    assert rpn.anchors.stride == 8
    assert rpn.head.conv.out_channels == 24
    assert vars(rpn.loss) == {
        "positive_iou": 0.61,
        "negative_iou": 0.22,
        "batch": 33,
        "positive_fraction": 0.4,
        "sigma": 2,
    }
    assert vars(rpn.select) == {"min_size": 3, "candidates": 77, "nms_threshold": 0.66}
    assert (rpn.train_proposals, rpn.test_proposals) == (44, 55)
    assert (detector.roi_head.k, detector.roi_head.box_sets) == (2, 3)
    assert detector.roi_head.reduce.out_channels == 12
    assert detector.roi_head.pooler.stride == 8
    assert vars(detector.sampler) == {
        "rois": 21,
        "foreground_fraction": 0.3,
        "foreground_iou": 0.58,
        "background_iou": 0.12,
        "box_std": (1, 2, 3, 4),
    }
    assert vars(detector.roi_loss) == {"box_weight": 2.5, "figures": {}}
    post = detector.postprocess
    assert (post.score_threshold, post.suppression.threshold) == (0.05, 0.45)
    assert (post.max_detections, post.box_std) == (9, (1, 2, 3, 4))
    assert detector.normalize.mean.flatten().tolist() == [1, 2, 3]
    assert detector.normalize.std.flatten().tolist() == [4, 5, 6]
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in detector.backbone.modules())


# ----------------------------------------------------------------------------- every other choice


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("conv5_norm", ["frozen", "group", "batch"])
def test_every_resnet(depth, conv5_norm):
    config = schema.ResNetBackbone(depth=depth, conv5_norm=conv5_norm, frozen_stages=1)
    detector = on_meta(model(backbone=config))
    assert isinstance(detector.backbone, ResNet)
    norms = {
        type(layer) for layer in detector.backbone.layer4.modules() if "Norm" in str(type(layer))
    }
    expected = {"frozen": FrozenBatchNorm, "group": nn.GroupNorm, "batch": nn.BatchNorm2d}
    assert norms == {expected[conv5_norm]}
    assert detector.backbone.layer1[0].conv1.weight.requires_grad
    assert not detector.backbone.conv1.weight.requires_grad
    features = detector.backbone(torch.empty(1, 3, 64, 64, device="meta"))
    assert features.roi.shape[1] == detector.roi_head.reduce.in_channels
    assert features.rpn.shape[1] == detector.proposer.head.conv.in_channels


@pytest.mark.parametrize("stride", [8, 16])
def test_every_part_knows_the_stride_of_the_tiny_backbone(stride):
    detector = on_meta(model(backbone=schema.TinyBackbone(type="tiny", stride=stride)))
    assert isinstance(detector.backbone, TinyBackbone)
    assert detector.proposer.anchors.stride == stride
    assert detector.roi_head.pooler.stride == stride


def test_losses_come_with_their_sampler():
    sampler, loss = build_roi_loss(model(roi_loss=schema.OHEM(keep=5, foreground_iou=0.6)))
    assert type(sampler) is AllRoIs
    assert sampler.foreground_iou == 0.6
    assert (type(loss), loss.kept) == (OnlineHardExampleLoss, 5)
    sampler, loss = build_roi_loss(model(roi_loss=schema.Sampled(type="sampled")))
    assert type(sampler) is RandomRoIs
    assert type(loss) is MeanLoss


def test_new_layers_are_those_outside_the_backbone():
    names = [name for name, _ in on_meta(model()).named_parameters()]
    new = {name.split(".")[0] for name in names if is_new_layer(name)}
    old = {name.split(".")[0] for name in names if not is_new_layer(name)}
    assert (new, old) == ({"proposer", "roi_head"}, {"backbone"})
