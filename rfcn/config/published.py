"""Each setting beside what the paper and the released codes use, and why where it differs.

Columns: the paper (arXiv 1605.06409); py-R-FCN (end-to-end training with OHEM); Deformable-ConvNets
(its R-FCN). A cell is a value of ours, several of them (`OneOf`), a remark in words, or empty where
the source is silent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rfcn.config.schema import Config


class OneOf(tuple[object, ...]):
    """A source that uses several values."""


@dataclass(frozen=True)
class Source:
    """What the three sources say of one setting; `note` explains our default where none has it."""

    paper: object = None
    py_rfcn: object = None
    deformable: object = None
    note: str = ""

    @property
    def cells(self) -> tuple[object, object, object]:
        return self.paper, self.py_rfcn, self.deformable


@dataclass(frozen=True)
class Row:
    """One setting of a config: its key, its value, the sources, and the verdict in words."""

    key: str
    value: object
    source: Source
    verdict: str


COLUMNS = ("paper", "py-R-FCN", "Deformable-ConvNets")
DIFFERS = "differs"
"""Verdict on a value that no source has and nobody explained."""

_SCALES = OneOf(((600,), (400, 500, 600, 700, 800)))
_LOSSES = OneOf(("ohem", "sampled"))
_SCHEMES = OneOf(("joint", "alternating"))


def _all(value: object) -> Source:
    return Source(value, value, value)


def _codes(value: object, paper: object = None) -> Source:
    return Source(paper, value, value)


def _own(note: str) -> Source:
    return Source(note=note)


_TORCHVISION = "what torchvision's weights were trained with"
_TINY = "made for the demo, from scratch"
_GUARD = "a guard of ours"
_RUN = "of the machine, not of the method"

_LIGHT = "Light-Head R-CNN, section 3"
_SOFT = "Soft-NMS, section 3"
_LATER = "of a system that these do not train"

SOURCES: dict[str, Source] = {
    "model.type": Source(OneOf(("two_stage", "class_rpn")), "two_stage", "two_stage"),
    "model.backbone.type": _all("resnet"),
    "model.backbone.depth": Source(OneOf((50, 101, 152)), OneOf((50, 101)), 101),
    "model.backbone.weights": Source(
        "ImageNet", "ImageNet, Caffe", "ImageNet, MXNet", "ImageNet, torchvision's"
    ),
    "model.backbone.frozen_stages": _codes(2),
    "model.backbone.conv5_norm": _codes("frozen"),
    "model.backbone.style": Source(None, "caffe", "caffe", _TORCHVISION),
    "model.backbone.width": _own(_TINY),
    "model.backbone.stride": _own(_TINY),
    "model.backbone.norm": _own(_TINY),
    "model.proposer.type": _all("rpn"),
    "model.proposer.anchors.base_size": _codes(16),
    "model.proposer.anchors.scales": _codes(OneOf(((8, 16, 32), (4, 8, 16, 32)))),
    "model.proposer.anchors.ratios": _codes((0.5, 1, 2)),
    "model.proposer.features": Source("conv5", note=_LATER),
    "model.proposer.channels": _codes(512),
    "model.proposer.positive_iou": _codes(0.7),
    "model.proposer.negative_iou": _codes(0.3),
    "model.proposer.batch": _codes(256),
    "model.proposer.positive_fraction": _codes(0.5),
    "model.proposer.box_loss_sigma": _codes(3),
    "model.proposer.nms_threshold": _codes(0.7),
    "model.proposer.candidates": _codes(6000),
    "model.proposer.train_proposals": _all(300),
    "model.proposer.test_proposals": _all(300),
    "model.proposer.min_size": Source(None, 16, 0),
    "model.roi_head.type": Source(
        OneOf(("rfcn", "naive_frcnn", "c4_frcnn")), "rfcn", OneOf(("rfcn", "c4_frcnn"))
    ),
    "model.roi_head.features": Source(
        OneOf(("conv5", "conv5_stride_32", "conv4")), "conv5", OneOf(("conv5", "conv5_deformable"))
    ),
    "model.roi_head.pool": Source(OneOf((7, 1)), note="as in the paper each compares with"),
    "model.roi_head.pooler": Source(
        OneOf(("psroi_pool_paper", "max")), OneOf(("psroi_pool", "max")), "psroi_pool"
    ),
    "model.roi_head.global_context": Source(OneOf((False, True)), False, False),
    "model.roi_head.channels": _own(_LIGHT),
    "model.roi_head.middle": _own(_LIGHT),
    "model.roi_head.hidden": _own(_LIGHT),
    "model.roi_head.k": Source(OneOf((7, 3)), 7, 7),
    "model.roi_head.reduction": _all(1024),
    "model.roi_head.box_sets": _codes("background_foreground", paper="agnostic"),
    "model.roi_head.form": Source("maps", "maps", "maps", "the cheaper of two equal ways"),
    "model.roi_loss.type": Source(_LOSSES, _LOSSES, _LOSSES),
    "model.roi_loss.keep": _all(128),
    "model.roi_loss.foreground_iou": _all(0.5),
    "model.roi_loss.passes": Source("", 1, 1),
    "model.roi_loss.rois": _codes(128),
    "model.roi_loss.foreground_fraction": _codes(0.25),
    "model.roi_loss.background_iou": _codes(0.1),
    "model.hidden_init": _codes("gaussian"),
    "model.box_std": _codes((0.1, 0.1, 0.2, 0.2)),
    "model.box_loss_weight": _all(1),
    "model.postprocess.score_threshold": Source(None, "none", 1e-3),
    "model.postprocess.nms_threshold": _all(0.3),
    "model.postprocess.suppression.type": _all("nms"),
    "model.postprocess.suppression.method": _own(_SOFT),
    "model.postprocess.suppression.sigma": _own(_SOFT),
    "model.postprocess.box_voting": Source("none", "none", "none", "moves no box unless asked to"),
    "model.postprocess.box_voting.threshold": _own("Gidaris and Komodakis, section 5"),
    "model.postprocess.box_voting.scoring": _own("Gidaris and Komodakis, section 5"),
    "model.postprocess.max_detections": Source(None, 400, OneOf((300, 100))),
    "model.test_time.short_sides": Source(
        OneOf(((), (200, 400, 600, 800, 1000))), (), (), "one size but in one row of table 6"
    ),
    "model.test_time.assignment": Source("", "nearest", "", "acts with several sizes only"),
    "model.test_time.flip": _all(False),
    "model.test_time.box_iterations": _all(0),
    "model.pixel_mean": Source(
        None, "BGR 103.0 115.9 122.8", "BGR 103.1 115.9 123.2", _TORCHVISION
    ),
    "model.pixel_std": Source(None, "none", "none", _TORCHVISION),
    "data.format": _all(OneOf(("voc", "coco"))),
    "data.root": _own(_RUN),
    "data.train": _all(
        OneOf(("voc_2007_trainval+voc_2012_trainval", "train2014", "train2014+val2014"))
    ),
    "data.val": _all(OneOf(("voc_2007_test", "val2014"))),
    "data.classes": _own("the data's own"),
    "data.unknown_class": _own(_GUARD),
    "data.bad_box": _own(_GUARD),
    "data.missing_annotation": _own(_GUARD),
    "data.size_mismatch": _own(_GUARD),
    "data.on_bad_image": _own(_GUARD),
    "data.max_pixels": _own(_GUARD),
    "data.exif": _own("pictures are looked at upright"),
    "data.use_difficult": _codes(False),
    "data.train_short_sides": Source(_SCALES, (600,), (600,)),
    "data.test_short_side": _all(600),
    "data.max_long_side": _codes(1000),
    "data.flip": _codes(True),
    "data.proposals": _own("for proposals of other programs"),
    "data.proposals.train": _own(_RUN),
    "data.proposals.val": _own(_RUN),
    "data.proposals.corners": _own(_RUN),
    "data.proposals.pixels": _own(_RUN),
    "data.workers": _own(_RUN),
    "train.start_from": _own("a detector trained before"),
    "train.lr": Source(1e-3, 1e-3, 5e-4),
    "train.iterations": Source(OneOf((30_000, 120_000)), 110_000, "7 epochs"),
    "train.lr_steps": Source(OneOf(((20_000,), (90_000,))), (80_000,), "4.83 epochs"),
    "train.lr_gamma": _all(0.1),
    "train.warmup_iterations": Source(None, "none", 1000),
    "train.warmup_factor": Source(None, "none", 0.1),
    "train.schedule_batch_size": Source(8, 2, 4),
    "train.batch_size": Source(8, 2, 4),
    "train.accumulate": _own(_RUN),
    "train.momentum": _all(0.9),
    "train.weight_decay": _all(5e-4),
    "train.bias_lr_factor": Source(None, 2, 1),
    "train.max_gradient_norm": Source(None, "none", "none", "far above healthy gradients: a guard"),
    "train.precision": Source(None, "float32", "float32"),
    "train.ema_decay": Source(None, "none", "none", "none"),
    "train.scheme.type": Source("alternating", _SCHEMES, _SCHEMES),
    "train.scheme.stages": Source(OneOf((4, 5)), 5, 4, "4 on VOC, 5 on COCO"),
    "train.scheme.lr": _own("py-R-FCN: 1e-3, at 1 picture a step (RPN) or 2 (R-FCN)"),
    "train.scheme.iterations": _own("py-R-FCN: 80k (RPN), 120k (R-FCN), at 1 and 2 pictures"),
    "train.scheme.lr_steps": _own("py-R-FCN: 60k (RPN), 80k (R-FCN), at 1 and 2 pictures"),
    "eval.metric": Source("auto", "auto", "auto", "VOC's for VOC, COCO's for COCO"),
    "eval.max_detections": _own("COCO's own"),
    "eval.coco_tool": _own("the same figures"),
    "eval.iou_thresholds": Source((0.5,), (0.5,), (0.5, 0.7)),
    "eval.devkit": Source(
        True, True, True, "pixels counted without + 1; `true` repeats the devkit"
    ),
    "eval.every": _own(_RUN),
    "eval.on_failure": _own(_RUN),
    "eval.report": _own(_RUN),
    "eval.floor": _own(_GUARD),
    "runtime.device": _own(_RUN),
    "runtime.compile": _own(_RUN),
    "runtime.activation_checkpointing": _own(_RUN),
    "runtime.timeout": _own(_RUN),
    "runtime.seed": Source(None, 3, None, "any seed will do"),
    "runtime.log_every": _own(_RUN),
    "runtime.checkpoint_every": _own(_RUN),
    "runtime.tensorboard": _own(_RUN),
    "runtime.pictures": _own(_RUN),
}


def compare(config: Config) -> Iterator[Row]:
    """Every setting of a config, in the schema's order, with its sources and a verdict.

    The verdict names the sources that have the same value; where none has, it is the explanation
    of our default, or `differs` for a value that is not our default.
    """
    defaults = dict(leaves(Config().model_dump()))
    for key, value in leaves(config.model_dump()):
        source = SOURCES[key]
        yield Row(key, value, source, _verdict(value, source, value == defaults.get(key)))


def leaves(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings that is not a mapping."""
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _verdict(value: object, source: Source, is_default: bool) -> str:
    equal = [name for name, cell in zip(COLUMNS, source.cells, strict=True) if _same(value, cell)]
    if equal:
        return "equal: " + ("all" if len(equal) == len(COLUMNS) else ", ".join(equal))
    unpublished = all(cell is None for cell in source.cells)
    return source.note if unpublished or is_default else DIFFERS


def _same(value: object, cell: object) -> bool:
    if isinstance(cell, OneOf):
        return any(_same(value, choice) for choice in cell)
    if isinstance(value, bool) or isinstance(cell, bool):
        return value is cell
    return cell is not None and value == cell
