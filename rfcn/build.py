"""From a config to objects: the one place that knows both sides.

Every function turns one section of the config into explicit keyword arguments; nothing below this
floor ever sees a config.
"""

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from rfcn.config import schema
from rfcn.config.classes import read_class_file
from rfcn.config.loader import config_from_mapping
from rfcn.config.paths import expand_path
from rfcn.datasets.loader import TrainLoader, test_loader
from rfcn.datasets.sample import Dataset
from rfcn.datasets.voc import VOCDataset
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.schedule import Schedule
from rfcn.engine.weights import load_weights
from rfcn.errors import ConfigError, MachineError
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.models.anchors import AnchorGrid
from rfcn.models.detector import Normalize, TwoStageDetector
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.initialization import Initializer, gaussian, kaiming
from rfcn.models.losses import MeanLoss, OnlineHardExampleLoss
from rfcn.models.postprocess import PostProcess
from rfcn.models.resnet import ResNet
from rfcn.models.rpn import AnchorLoss, ProposalSelector, RegionProposalNetwork, RPNHead
from rfcn.models.sampling import AllRoIs, RandomRoIs
from rfcn.models.test_time import OneLook, TestTimeDetector
from rfcn.models.tiny import TinyBackbone
from rfcn.models.transfer import transfer
from rfcn.models.weights import load_backbone
from rfcn.structures import Pyramid

logger = logging.getLogger("rfcn")


def build_detector(
    config: schema.Model, class_names: Sequence[str], *, pretrained: bool = True
) -> TwoStageDetector:
    """The detector of a config for these classes (without background).

    With `pretrained=False` no backbone weights are looked for: the caller loads a whole detector.
    """
    backbone = build_backbone(config.backbone, pretrained=pretrained)
    sampler, roi_loss = build_roi_loss(config)
    hidden_init = {"gaussian": gaussian, "kaiming": kaiming}[config.hidden_init]
    return TwoStageDetector(
        normalize=Normalize(config.pixel_mean, config.pixel_std),
        backbone=backbone,
        proposer=build_rpn(config.proposer, backbone, hidden_init),
        roi_head=build_head(config.roi_head, backbone, hidden_init, classes=len(class_names)),
        sampler=sampler,
        roi_loss=roi_loss,
        postprocess=PostProcess(
            score_threshold=config.postprocess.score_threshold,
            nms_threshold=config.postprocess.nms_threshold,
            max_detections=config.postprocess.max_detections,
            box_std=config.box_std,
        ),
    )


def start_from(detector: TwoStageDetector, class_names: Sequence[str], folder: str) -> list[str]:
    """Give a detector what it shares with the one in a weights folder; what was done, in words.

    Raises:
        WeightsError: the folder is missing or broken, or nothing of it fits.
    """
    path = expand_path(folder, key="train.start_from")
    state, metadata = load_weights(path)
    config = config_from_mapping(metadata["config"], source=f"{path}: stored config")
    with torch.device("meta"):  # its shapes matter, not its values
        old = build_detector(config.model, metadata["classes"], pretrained=False)
    report = transfer(detector, class_names, old, state, metadata["classes"])
    return [f"starting from {path}: {line}" for line in report.describe(class_names)]


def build_backbone(
    config: schema.ResNetBackbone | schema.TinyBackbone, *, pretrained: bool
) -> ResNet | TinyBackbone:
    """The backbone of a config."""
    if isinstance(config, schema.TinyBackbone):
        return TinyBackbone(config.width, stride=config.stride, norm=config.norm)
    backbone = ResNet(
        config.depth, frozen_stages=config.frozen_stages, conv5_norm=config.conv5_norm
    )
    if not pretrained:
        return backbone
    stages = [f"conv{number}" for number in range(1, 6)]
    untrained = stages
    if config.weights != "none":
        untrained = load_backbone(backbone, config.depth, config.weights)
    _check_untrained(config, untrained)
    return backbone


def _check_untrained(config: schema.ResNetBackbone, untrained: Sequence[str]) -> None:
    """Say which stages start from random weights, where that is not plainly what was asked for."""
    frozen = [f"conv{number}" for number in range(1, config.frozen_stages + 1)]
    stuck = [stage for stage in untrained if stage in frozen]
    if stuck and config.weights != "none":
        raise ConfigError(
            f"model.backbone: {config.weights} holds no weights for {', '.join(stuck)}, and "
            f"frozen_stages: {config.frozen_stages} would never train them. Lower frozen_stages."
        )
    if stuck:
        logger.warning(
            "model.backbone.weights is none: %s start from random weights and stay frozen "
            "(frozen_stages: %d)",
            ", ".join(stuck),
            config.frozen_stages,
        )
    if "conv5" not in untrained and config.conv5_norm != "frozen":
        logger.warning(
            "%s holds a conv5 that was trained behind batch norm, and model.backbone.conv5_norm is "
            "%s: it starts from those weights but must learn anew; set it to frozen",
            config.weights,
            config.conv5_norm,
        )
    if untrained == ["conv5"] and config.conv5_norm == "frozen":
        logger.warning(
            "%s holds no conv5: it starts from random weights behind frozen batch norm, which "
            "trains badly; set model.backbone.conv5_norm to group",
            config.weights,
        )


def build_rpn(
    config: schema.RPN, backbone: ResNet | TinyBackbone, hidden_init: Initializer = gaussian
) -> RegionProposalNetwork:
    """The region proposal network of a config, on the backbone's conv4."""
    anchors = AnchorGrid(
        base_size=config.anchors.base_size,
        scales=config.anchors.scales,
        ratios=config.anchors.ratios,
        stride=backbone.stride,
    )
    return RegionProposalNetwork(
        head=RPNHead(backbone.rpn_channels, config.channels, len(anchors), hidden_init=hidden_init),
        anchors=anchors,
        loss=AnchorLoss(
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
            batch=config.batch,
            positive_fraction=config.positive_fraction,
            sigma=config.box_loss_sigma,
        ),
        select=ProposalSelector(
            min_size=config.min_size,
            candidates=config.candidates,
            nms_threshold=config.nms_threshold,
        ),
        train_proposals=config.train_proposals,
        test_proposals=config.test_proposals,
    )


def build_head(
    config: schema.RFCN,
    backbone: ResNet | TinyBackbone,
    hidden_init: Initializer = gaussian,
    *,
    classes: int,
) -> RFCNHead:
    """The RoI head of a config, on the backbone's conv5. classes: C, without background."""
    box_sets = {"agnostic": 1, "background_foreground": 2, "class_aware": classes + 1}
    return RFCNHead(
        backbone.roi_channels,
        classes=classes,
        k=config.k,
        reduction=config.reduction,
        box_sets=box_sets[config.box_sets],
        stride=backbone.stride,
        hidden_init=hidden_init,
    )


def build_roi_loss(config: schema.Model) -> tuple[AllRoIs, MeanLoss]:
    """Which RoIs a step looks at, and the loss over them: they belong together."""
    loss = config.roi_loss
    if isinstance(loss, schema.OHEM):
        return (
            AllRoIs(foreground_iou=loss.foreground_iou, box_std=config.box_std),
            OnlineHardExampleLoss(kept=loss.keep, box_weight=config.box_loss_weight),
        )
    return (
        RandomRoIs(
            rois=loss.rois,
            foreground_fraction=loss.foreground_fraction,
            foreground_iou=loss.foreground_iou,
            background_iou=loss.background_iou,
            box_std=config.box_std,
        ),
        MeanLoss(box_weight=config.box_loss_weight),
    )


def is_new_layer(name: str) -> bool:
    """Whether a parameter, by its name in the detector, belongs to a layer that R-FCN adds to the
    backbone (their biases learn faster, see `train.bias_lr_factor`)."""
    return name.startswith(("proposer.", "roi_head."))


# ------------------------------------------------------------------------------------------- data


def build_dataset(
    config: schema.Data, sets: str, *, class_names: Sequence[str] | None = None
) -> VOCDataset:
    """The data set of these sets. With `class_names` those are its classes (a validation set takes
    them from the training set, a detector from its weights); otherwise the config says."""
    return VOCDataset(
        expand_path(config.root, key="data.root"),
        sets,
        classes=listed_classes(config) if class_names is None else class_names,
        unknown_class=config.unknown_class,
        bad_box=config.bad_box,
    )


def listed_classes(config: schema.Data) -> Sequence[str] | None:
    """The class names that the config lists, itself or in a file; None where it leaves them to be
    found in the annotations."""
    return read_class_file(config.classes) if isinstance(config.classes, str) else config.classes


def build_train_loader(
    config: schema.Config, dataset: Dataset, *, start_step: int = 0
) -> TrainLoader:
    """Training batches from step `start_step` on."""
    return TrainLoader(
        dataset,
        batch_size=config.train.batch_size,
        short_sides=config.data.train_short_sides,
        max_long_side=config.data.max_long_side,
        flip=config.data.flip,
        use_difficult=config.data.use_difficult,
        seed=config.runtime.seed,
        workers=config.data.workers,
        start_step=start_step,
    )


def build_test_loader(config: schema.Config, dataset: Dataset) -> Iterable[Pyramid]:
    """Every picture of a data set once, one a batch, at every size a test looks at."""
    return test_loader(dataset, sizes=test_sizes(config), workers=config.data.workers)


def test_sizes(config: schema.Config) -> list[tuple[int, int]]:
    """(short side, longest side) of each size a test looks at, in pixels."""
    data = config.data
    sides = config.model.test_time.short_sides or (data.test_short_side,)
    return [(side, round(data.max_long_side * side / data.test_short_side)) for side in sides]


def build_tester(model: TwoStageDetector, config: schema.Model) -> OneLook | TestTimeDetector:
    """The detector as a test uses it: one look, or several sizes, the mirror, boxes again."""
    test_time = config.test_time
    if test_time == schema.TestTime():
        return OneLook(model)
    return TestTimeDetector(
        model,
        assignment=test_time.assignment,
        flip=test_time.flip,
        box_iterations=test_time.box_iterations,
        proposal_nms=config.proposer.nms_threshold,
    )


# ------------------------------------------------------------------------ training and evaluation


def build_schedule(config: schema.Train) -> Schedule:
    """The schedule as written, for `schedule_batch_size` pictures a step."""
    return Schedule(
        lr=config.lr,
        iterations=config.iterations,
        lr_steps=config.lr_steps,
        lr_gamma=config.lr_gamma,
        warmup_iterations=config.warmup_iterations,
        warmup_factor=config.warmup_factor,
    )


def build_optimizer(config: schema.Train, detector: nn.Module) -> torch.optim.SGD:
    """SGD over what is trained, biases of new layers at their own rate."""
    return build_sgd(
        detector,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        bias_lr_factor=config.bias_lr_factor,
        new_parameters=is_new_layer,
    )


def build_evaluator(config: schema.Eval, dataset: Dataset) -> VOCEvaluator:
    """The VOC metric against the truth of a data set."""
    truths = {name: dataset.target(index) for index, name in enumerate(dataset.ids)}
    return VOCEvaluator(
        truths,
        dataset.class_names,
        iou_thresholds=config.iou_thresholds,
        devkit=config.devkit,
    )


def find_device(name: str) -> torch.device:
    """The device meant by `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: another word. MachineError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not number.isdigit()):
        raise ConfigError(f"device {name}: expected auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices that torch "
            "can use. Use --device cpu, or see what rfcn doctor says."
        )
    return torch.device(name)
