"""From a config to objects: the one place that knows both sides.

Every function turns one section of the config into explicit keyword arguments; nothing below this
floor ever sees a config.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import nn

from rfcn.config import schema
from rfcn.config.classes import read_class_file
from rfcn.config.loader import config_from_mapping
from rfcn.config.parts import Features
from rfcn.config.paths import expand_path
from rfcn.datasets.coco import COCODataset
from rfcn.datasets.findings import Findings
from rfcn.datasets.listed import ListedPictures
from rfcn.datasets.loader import TrainLoader, test_loader
from rfcn.datasets.proposals import attach_proposals
from rfcn.datasets.rules import FileRules
from rfcn.datasets.sample import Dataset, coco_annotations
from rfcn.datasets.skipped import SkippedPictures
from rfcn.datasets.voc import VOCDataset
from rfcn.datasets.yolo import YOLODataset
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.schedule import Schedule
from rfcn.engine.weights import load_weights
from rfcn.errors import ConfigError, MachineError
from rfcn.evaluation.coco import COCOEvaluator, COCOTruth, id_order
from rfcn.evaluation.submission import Naming
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.models.class_specific_rpn import ClassAnchorLoss, ClassSpecificRPN
from rfcn.models.detector import Normalize, TwoPassDetector, TwoStageDetector
from rfcn.models.initialization import Initializer, gaussian, kaiming
from rfcn.models.losses import MeanLoss, OnlineHardExampleLoss
from rfcn.models.rpn import RPNHead
from rfcn.models.sampling import AllRoIs, RandomRoIs
from rfcn.models.test_time import OneLook, TestTimeDetector
from rfcn.models.transfer import transfer
from rfcn.parts.backbones import build_backbone
from rfcn.parts.heads import build_head
from rfcn.parts.postprocess import build_postprocess
from rfcn.parts.proposers import build_anchor_loss, build_anchors, build_proposer
from rfcn.structures import Pyramid

AnyDetector = TwoStageDetector | ClassSpecificRPN

SAME_BOX = 0.99
"""IoU above which given proposals, scaled to two sizes and back, are one and the same."""
INITIALIZERS: dict[str, Initializer] = {"gaussian": gaussian, "kaiming": kaiming}


def build_detector(
    config: schema.Model | schema.ClassRPN, class_names: Sequence[str], *, pretrained: bool = True
) -> AnyDetector:
    """The detector of a config for these classes (without background).

    With `pretrained=False` no backbone weights are looked for: the caller loads a whole detector.
    """
    build: dict[type, Callable[..., AnyDetector]] = {
        schema.Model: build_two_stage,
        schema.ClassRPN: build_class_rpn,
    }
    return build[type(config)](config, classes=len(class_names), pretrained=pretrained)


def build_two_stage(config: schema.Model, *, classes: int, pretrained: bool) -> TwoStageDetector:
    """Any detector of two stages. classes: C, without background."""
    # a head that reads nothing in particular runs the backbone's last stage itself
    features: Features = getattr(config.roi_head, "features", "conv4")
    backbone, tail = build_backbone(config.backbone, features, pretrained=pretrained)
    sampler, roi_loss = build_roi_loss(config)
    hidden_init = INITIALIZERS[config.hidden_init]
    two_passes = isinstance(config.roi_loss, schema.OHEM) and config.roi_loss.passes == 2
    detector = TwoPassDetector if two_passes else TwoStageDetector
    return detector(
        normalize=Normalize(config.pixel_mean, config.pixel_std),
        backbone=backbone,
        proposer=build_proposer(config.proposer, backbone, hidden_init),
        roi_head=build_head(config.roi_head, backbone, tail, hidden_init, classes=classes),
        sampler=sampler,
        roi_loss=roi_loss,
        postprocess=build_postprocess(config.postprocess, config.box_std),
    )


def build_class_rpn(config: schema.ClassRPN, *, classes: int, pretrained: bool) -> ClassSpecificRPN:
    """The detector of one stage. classes: C, without background."""
    section = config.proposer
    backbone, _ = build_backbone(config.backbone, section.features, pretrained=pretrained)
    anchors = build_anchors(section, backbone.roi_stride)
    return ClassSpecificRPN(
        normalize=Normalize(config.pixel_mean, config.pixel_std),
        backbone=backbone,
        proposer=RPNHead(
            backbone.roi_channels,
            section.channels,
            len(anchors),
            scores=classes + 1,
            hidden_init=INITIALIZERS[config.hidden_init],
        ),
        anchors=anchors,
        loss=build_anchor_loss(section, ClassAnchorLoss),
        postprocess=build_postprocess(config.postprocess, (1, 1, 1, 1)),
        candidates=section.candidates,
    )


def start_from(detector: AnyDetector, class_names: Sequence[str], folder: str) -> list[str]:
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
    backbone (their biases learn faster, see `train.bias_lr_factor`). What a head took over from the
    backbone is as old as the backbone."""
    return name.startswith(("proposer.", "roi_head.")) and not name.startswith("roi_head.body.")


# ------------------------------------------------------------------------------------------- data


def build_dataset(
    config: schema.Data,
    sets: str,
    *,
    class_names: Sequence[str] | None = None,
    findings: Findings | None = None,
) -> ListedPictures:
    """The data set of these sets. With `class_names` those are its classes (a validation set takes
    them from the training set, a detector from its weights); otherwise the config says. `findings`
    collects what was odd in the files, and decides what ends the reading."""
    formats = {"voc": VOCDataset, "coco": COCODataset, "yolo": YOLODataset}
    return formats[config.format](
        expand_path(config.root, key="data.root"),
        sets,
        classes=listed_classes(config) if class_names is None else class_names,
        unknown_class=config.unknown_class,
        bad_box=config.bad_box,
        files=file_rules(config),
        findings=findings,
    )


def file_rules(config: schema.Data) -> FileRules:
    """What is done about files that are missing, damaged or odd."""
    return FileRules(
        on_bad_image=config.on_bad_image,
        missing_annotation=config.missing_annotation,
        size_mismatch=config.size_mismatch,
        max_pixels=config.max_pixels,
        exif=config.exif,
    )


def build_skipped(
    config: schema.Data, dataset: Dataset, tell: Callable[[str], object], *, said: str
) -> SkippedPictures:
    """Who is told of pictures that cannot be read, and ends the run where they are too many."""
    return SkippedPictures(file_rules(config).may_skip(len(dataset)), tell=tell, said=said)


def with_proposals(
    config: schema.Config, dataset: Dataset, part: Literal["train", "val"]
) -> Dataset:
    """The data set with what `data.proposals` holds for it, where the config names files."""
    files = config.data.proposals
    proposer = config.model.proposer
    if files is None or not isinstance(proposer, schema.GivenProposals):
        return dataset
    return attach_proposals(
        dataset,
        [expand_path(one, key=f"data.proposals.{part}") for one in getattr(files, part)],
        corners=files.corners,
        pixels=files.pixels,
        most=getattr(proposer, {"train": "train_proposals", "val": "test_proposals"}[part]),
    )


def listed_classes(config: schema.Data) -> Sequence[str] | None:
    """The class names that the config lists, itself or in a file; None where it leaves them to be
    found in the annotations."""
    return read_class_file(config.classes) if isinstance(config.classes, str) else config.classes


def build_train_loader(
    config: schema.Config,
    dataset: Dataset,
    *,
    start_step: int = 0,
    skipped: SkippedPictures | None = None,
    rank: int = 0,
    processes: int = 1,
) -> TrainLoader:
    """Training batches from step `start_step` on: those of process `rank` of so many."""
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
        skipped=SkippedPictures() if skipped is None else skipped,
        pieces=config.train.accumulate,
        rank=rank,
        processes=processes,
    )


def build_test_loader(
    config: schema.Config,
    dataset: Dataset,
    *,
    skipped: SkippedPictures | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Iterable[Pyramid]:
    """Every picture of a data set once, one a batch, at every size a test looks at; of several
    processes each has every so manieth."""
    return test_loader(
        dataset,
        sizes=test_sizes(config),
        workers=config.data.workers,
        skipped=SkippedPictures() if skipped is None else skipped,
        pictures=range(rank, len(dataset), processes),
    )


def test_sizes(config: schema.Config) -> list[tuple[int, int]]:
    """(short side, longest side) of each size a test looks at, in pixels."""
    data = config.data
    several = config.model.test_time.short_sides if isinstance(config.model, schema.Model) else ()
    sides = several or (data.test_short_side,)
    return [(side, round(data.max_long_side * side / data.test_short_side)) for side in sides]


def build_tester(
    model: AnyDetector, config: schema.Model | schema.ClassRPN
) -> OneLook | TestTimeDetector:
    """The detector as a test uses it: one look, or several sizes, the mirror, boxes again."""
    if isinstance(config, schema.ClassRPN) or config.test_time == schema.TestTime():
        return OneLook(model)
    assert isinstance(model, TwoStageDetector)
    return TestTimeDetector(
        model,
        assignment=config.test_time.assignment,
        flip=config.test_time.flip,
        box_iterations=config.test_time.box_iterations,
        proposal_nms=getattr(config.proposer, "nms_threshold", SAME_BOX),
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


def build_evaluator(config: schema.Eval, dataset: Dataset) -> VOCEvaluator | COCOEvaluator:
    """The metric against the truth of a data set: `auto` is COCO's for COCO's annotations."""
    own = "voc" if coco_annotations(dataset) is None else "coco"
    metric = own if config.metric == "auto" else config.metric
    build = build_coco_evaluator if metric == "coco" else build_voc_evaluator
    return build(config, dataset)


def build_voc_evaluator(config: schema.Eval, dataset: Dataset) -> VOCEvaluator:
    """The VOC metric; COCO's crowds are difficult objects."""
    truths = {name: dataset.target(index) for index, name in enumerate(dataset.ids)}
    return VOCEvaluator(
        truths,
        dataset.class_names,
        iou_thresholds=config.iou_thresholds,
        devkit=config.devkit,
    )


def build_coco_evaluator(config: schema.Eval, dataset: Dataset) -> COCOEvaluator:
    """The COCO metric: against the boxes, areas and crowds of the file where the data are COCO's,
    the pictures by rising id as COCO's code takes them."""
    source = coco_annotations(dataset)
    numbers = range(len(dataset))
    if source is None:
        truths = {dataset.ids[n]: COCOTruth.from_target(dataset.target(n)) for n in numbers}
    else:
        by_id = sorted(numbers, key=lambda n: id_order(source.original_ids[n]))
        written = {dataset.ids[n]: source.annotations(n) for n in by_id}
        truths = {
            name: COCOTruth(one.boxes, one.labels, one.areas, one.crowd)
            for name, one in written.items()
        }
    return COCOEvaluator(
        truths,
        dataset.class_names,
        category_ids=None if source is None else source.category_ids,
        max_detections=config.max_detections,
        tool=config.coco_tool,
    )


def build_naming(dataset: Dataset) -> Naming:
    """What the benchmark's files call the pictures and classes: COCO by the ids of its annotations,
    others by the names of their pictures without a folder, and by labels. Where two pictures would
    be called alike, all keep the longer names that we have for them."""
    source = coco_annotations(dataset)
    names: Sequence[int | str] = [id_.rpartition("/")[2] for id_ in dataset.ids]
    categories: Sequence[int | str] = range(1, len(dataset.class_names) + 1)
    if source is not None:
        names, categories = source.original_ids, source.category_ids
    if len(set(names)) < len(names):
        names = dataset.ids
    pictures = dict(zip(dataset.ids, names, strict=True))
    return Naming(pictures, tuple(dataset.class_names), tuple(categories))


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
