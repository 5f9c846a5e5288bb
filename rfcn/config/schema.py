"""Every knob, once: type, default, range, unit and source. Needs no torch, so it loads at once.

Sources: "paper" is arXiv 1605.06409; "py-R-FCN" and "Deformable-ConvNets" are the released Python
and MXNet codes, followed where the paper is silent. `rfcn show-config --published` prints each
default beside theirs.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rfcn.config.classes import check_class_names
from rfcn.config.losses import OHEM, RoILoss, Sampled
from rfcn.config.parts import (
    C4FRCNN,
    FCFRCNN,
    NMS,
    RFCN,
    RPN,
    Anchors,
    Backbone,
    BoxVoting,
    ClassAnchors,
    DeformableRFCN,
    GivenProposals,
    LightHead,
    NaiveFRCNN,
    PostProcess,
    Proposals,
    Proposer,
    ResNetBackbone,
    RoIHead,
    SoftNMS,
    TestTime,
    TinyBackbone,
    VGG16Backbone,
)
from rfcn.config.schemes import Alternating, Joint, Scheme
from rfcn.config.section import (
    Count,
    CountOrZero,
    EvaluationSets,
    Fraction,
    NonNegative,
    Offsets,
    Overlap,
    Pixels,
    Positive,
    Section,
)

__all__ = [
    "NMS",
    "OHEM",
    "RFCN",
    "RPN",
    "Alternating",
    "Anchors",
    "BoxVoting",
    "C4FRCNN",
    "ClassRPN",
    "Config",
    "Data",
    "DeformableRFCN",
    "Eval",
    "FCFRCNN",
    "GivenProposals",
    "Joint",
    "LightHead",
    "Model",
    "NaiveFRCNN",
    "PostProcess",
    "ResNetBackbone",
    "Runtime",
    "Sampled",
    "SoftNMS",
    "TestTime",
    "TinyBackbone",
    "Train",
    "VGG16Backbone",
]


# ----------------------------------------------------------------------------------------- models


class AnyModel(Section):
    """What every detector has."""

    type: str
    backbone: Backbone = ResNetBackbone()
    proposer: Section
    hidden_init: Literal["gaussian", "kaiming"] = "gaussian"
    """How the new hidden convolutions start (the RPN's 3x3, the head's 1x1): `gaussian` of
    deviation 0.01 (py-R-FCN), or `kaiming` (He et al., 2015), with which short schedules learn
    faster. The layers that score are always gaussian."""
    postprocess: PostProcess = PostProcess()
    pixel_mean: Pixels = (123.675, 116.28, 103.53)
    """Subtracted from the RGB bytes: what torchvision's ImageNet weights were trained with."""
    pixel_std: Pixels = (58.395, 57.12, 57.375)
    """Divides them afterwards."""


class Model(AnyModel):
    """The spine: backbone, proposals, head, loss, post-processing."""

    type: Literal["two_stage"] = "two_stage"
    proposer: Proposer = RPN()
    roi_head: RoIHead = RFCN()
    roi_loss: RoILoss = OHEM()
    box_std: Offsets = (0.1, 0.1, 0.2, 0.2)
    """The head's box targets are divided by these (py-R-FCN, Deformable-ConvNets)."""
    box_loss_weight: NonNegative = 1
    """lambda of the paper's loss (section 2)."""
    test_time: TestTime = TestTime()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Model":
        needed = {"c4_frcnn": ("resnet", "tiny"), "fc_frcnn": ("vgg16",)}
        kind, head = self.backbone.type, self.roi_head
        if kind not in needed.get(head.type, (kind,)):
            raise ValueError(
                f"roi_head {head.type} runs the last stage of a {' or '.join(needed[head.type])} "
                f"on every RoI, and this backbone is a {kind}"
            )
        if self.test_time.assignment == "adjacent" and not isinstance(
            head, NaiveFRCNN | C4FRCNN | FCFRCNN
        ):
            raise ValueError(
                "test_time.assignment adjacent merges what a head's last layers read, and roi_head "
                f"{head.type} has no such layers: nearest and every are there for any head"
            )
        _check_features(kind, getattr(head, "features", "conv5"), "roi_head")
        return self


class ClassRPN(AnyModel):
    """One stage: an RPN that tells classes apart is the whole detector (paper, table 2)."""

    type: Literal["class_rpn"]
    proposer: ClassAnchors = ClassAnchors()

    @model_validator(mode="after")
    def _parts_fit(self) -> "ClassRPN":
        _check_features(self.backbone.type, self.proposer.features, "proposer")
        return self


def _check_features(backbone: str, features: str, reader: str) -> None:
    if backbone == "vgg16" and features != "conv5":
        raise ValueError(
            f"{reader} cannot read {features}: of a vgg16 backbone there is only conv5"
        )
    if backbone != "tiny" and features in ("conv2", "conv3"):
        raise ValueError(
            f"{reader} cannot read {features}: a {backbone} backbone has nothing before conv4 for "
            "heads; only a tiny one has"
        )


AnyOneModel = Annotated[Model | ClassRPN, Field(discriminator="type")]


# ------------------------------------------------------------------------------------------ data


class Data(Section):
    """Which pictures, which classes, and how they are resized."""

    format: Literal["voc", "coco", "yolo"] = "voc"
    """Layout on disk. `voc`: Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/*; `coco`:
    annotations/instances_SET.json, SET/*; `yolo`: images/SET/*, labels/SET/*.txt."""
    root: str = "data/VOCdevkit"
    """Folder of the data. A relative path counts from the working directory."""
    train: str = "voc_2007_trainval+voc_2012_trainval"
    """Sets to train on, joined by `+`: `voc_2007_trainval` is VOC2007/ImageSets/Main/trainval.txt
    below the root; any other name NAME is ImageSets/Main/NAME.txt of the root itself. Of COCO:
    NAME is annotations/instances_NAME.json; of YOLO: images/NAME. Behind any name, a part of it:
    `NAME[:80%]` and `NAME[80%:]` share its pictures out for good, `NAME[:100]` takes so many."""
    val: EvaluationSets = "voc_2007_test"
    """Sets to evaluate on, written the same way."""
    classes: tuple[str, ...] | str | None = None
    """Class names in the order of their labels; or a text file with one a line; or nothing: the
    names found in the training annotations, sorted (COCO: its categories; YOLO: its list). Their
    number is never typed."""
    unknown_class: Literal["stop", "skip"] = "stop"
    """What to do with an object whose class is not listed."""
    bad_box: Literal["stop", "drop", "swap"] = "drop"
    """What to do with a box without area; all say how many there are and where. `swap` puts
    reversed corners of VOC in order, and drops what has no area then."""
    missing_annotation: Literal["stop", "skip"] = "stop"
    """What to do with a listed picture of VOC that has no annotation file."""
    size_mismatch: Literal["note", "stop"] = "note"
    """What to do where an annotation of VOC states another size than its picture has; the real one
    is used."""
    on_bad_image: Literal["stop", "skip"] = "stop"
    """What to do with a picture that is missing, damaged, or was replaced by one of another size.
    `skip`: in training the next one takes its place, in an evaluation it counts as one in which
    nothing was found; each is named, and more than 1 % (3 in any case) end the run."""
    max_pixels: Annotated[Count, Field(le=178_000_000)] = 100_000_000
    """Pictures of more pixels are refused before they are decoded. (Pillow reads no larger ones
    than this may be.)"""
    exif: Literal["apply", "ignore"] = "apply"
    """Turn pictures upright as their EXIF orientation says, or take them as they are stored, for
    boxes that were drawn on those (TIFF is always turned)."""
    use_difficult: bool = False
    """Train on objects marked difficult, COCO's crowds too (py-R-FCN: no)."""
    train_short_sides: Annotated[tuple[Count, ...], Field(min_length=1)] = (600,)
    """Short side in pixels, drawn anew for every training batch (paper, section 3: 600;
    multi-scale: 400, 500, 600, 700, 800)."""
    test_short_side: Count = 600
    """Short side in pixels at test (paper, section 3)."""
    max_long_side: Count = 1000
    """The long side never exceeds this; the short side yields (py-R-FCN)."""
    flip: bool = True
    """Mirror half of the training pictures (py-R-FCN)."""
    proposals: Proposals | None = None
    """Proposals of another program, in the place of an RPN's (Fast R-CNN; paper, table of
    proposals)."""
    workers: CountOrZero = 2
    """Processes that decode and resize; 0 does it in the training process."""

    @field_validator("classes")
    @classmethod
    def _class_names(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        if isinstance(value, tuple):
            check_class_names(value)
        return value

    @model_validator(mode="after")
    def _sides(self) -> "Data":
        largest = max(*self.train_short_sides, self.test_short_side)
        if largest > self.max_long_side:
            raise ValueError(f"max_long_side must be at least the largest short side, {largest}")
        return self


# -------------------------------------------------------------------------- training, evaluation


class Train(Section):
    """The schedule, stated for a batch size and scaled to the real one (Goyal et al., 2017)."""

    start_from: str | None = None
    """Weights folder of a trained detector to go on from, of the same or of other classes: layers
    of equal shape are taken over, rows of classes by their names (paper, section 4.1: COCO, then
    VOC). Nothing: `model.backbone.weights` alone."""
    lr: Positive = 1e-3
    """Learning rate (paper, section 3)."""
    iterations: Count = 30_000
    """Steps (paper, section 3: 20k at the first rate, 10k at a tenth)."""
    lr_steps: tuple[Count, ...] = (20_000,)
    """Steps after which the rate is multiplied by `lr_gamma`."""
    lr_gamma: Positive = 0.1
    """Factor at each of them."""
    warmup_iterations: CountOrZero = 1000
    """Steps of linear warm-up (Deformable-ConvNets)."""
    warmup_factor: Fraction = 0.1
    """Share of the rate at the first step (Deformable-ConvNets: 5e-5 of 5e-4)."""
    schedule_batch_size: Count = 8
    """Pictures a step for which the five values above are meant (paper: 8 GPUs, 1 picture each)."""
    batch_size: Count = 8
    """Pictures a step. When it differs from `schedule_batch_size`, the rate is scaled with it and
    the step counts against it, and the run says so."""
    accumulate: Count = 1
    """Pieces in which the pictures of a step are worked through, their gradients adding up: the
    same step in less memory. With several processes (torchrun) each works through so many."""
    momentum: Fraction = 0.9
    """SGD momentum (paper, section 3)."""
    weight_decay: NonNegative = 5e-4
    """SGD weight decay (paper, section 3)."""
    bias_lr_factor: Positive = 2
    """Rate of the biases of new layers, relative to `lr` (py-R-FCN)."""
    max_gradient_norm: Positive | None = 35.0
    """Gradients longer than this are shortened to it: far above healthy ones, it only stops a
    runaway step. Nothing turns it off, as in the published codes."""
    scheme: Scheme = Joint()
    """Whether RPN and head learn together or in turn."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What convolutions and products compute with; weights, losses and boxes are float32 in any
    case. float16 scales its losses, and skips steps whose gradients it has no numbers for."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Follow the weights with a moving average, 0.9998 for one, and evaluate, draw and keep that.
    Nothing: the weights themselves, as in the published codes."""

    @model_validator(mode="after")
    def _schedule(self) -> "Train":
        for number, stage in enumerate(self.stages(), start=1):
            where = f" (stage {number})" if self.scheme.type == "alternating" else ""
            if list(stage.lr_steps) != sorted(set(stage.lr_steps)):
                raise ValueError(f"lr_steps must increase{where}")
            if stage.lr_steps and stage.lr_steps[-1] >= stage.iterations:
                raise ValueError(f"lr_steps must stay below iterations{where}")
            if stage.warmup_iterations >= stage.iterations:
                raise ValueError(f"warmup_iterations must be below iterations{where}")
        return self

    def stages(self) -> list["Train"]:
        """The settings of each stage, one after another: these alone where there are no others."""
        if not isinstance(self.scheme, Alternating):
            return [self]
        numbers = range(1, self.scheme.stages + 1)
        return [self.model_copy(update=self.scheme.of_stage(number)) for number in numbers]


class Eval(Section):
    """What is measured."""

    metric: Literal["auto", "voc", "coco"] = "auto"
    """`voc`: mean AP by area and by 11 points; `coco`: the twelve figures of COCO, of which AP is
    the first; `auto`: that of the data's own benchmark. Either scores data of any format: COCO's
    crowds are VOC's difficult objects, and the other way round."""
    iou_thresholds: Annotated[tuple[Overlap, ...], Field(min_length=1)] = (0.5, 0.7)
    """VOC: overlaps from which a detection counts. (COCO has its own ten, 0.5 to 0.95.)"""
    devkit: bool = False
    """VOC: take the 11 recalls as multiples of the float 0.1, as VOC's own tools do, so that the
    11-point figures agree with them to the last digit."""
    max_detections: tuple[Count, Count, Count] = (1, 10, 100)
    """COCO: best detections of a picture and class that the three AR count; the rest the last."""
    coco_tool: Literal["rfcn", "pycocotools", "faster-coco-eval"] = "rfcn"
    """COCO: whose code scores. The figures are equal; ours takes a fraction of the time."""
    every: CountOrZero = 0
    """Evaluate each time after so many training steps; 0 evaluates at the end only. Alternating
    training has nothing to evaluate before its last stage."""
    on_failure: Literal["stop", "continue"] = "stop"
    """An evaluation within training that fails ends the run, which has saved before, or is told and
    left out. The last one always ends it, and so does any with several processes."""
    report: bool = True
    """After the last evaluation, write its analysis and `report.html` (docs/evaluation.md)."""
    floor: Fraction | None = None
    """The headline below which the command ends with a failure, 0..1: the mean AP (area) at the
    first threshold of VOC's metric, AP of COCO's. It ranks the weights of a run too."""


class Runtime(Section):
    """The machine, the seed and what is written down."""

    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    seed: CountOrZero = 0
    """Drives initial weights, order, augmentation and sampling."""
    compile: bool = False
    """Let torch.compile translate backbone and dense layers: minutes once, then faster steps."""
    activation_checkpointing: bool = False
    """Forget the activations of residual blocks and compute them again for their gradients: a
    fraction of the memory for a quarter more time, for large pictures and batches."""
    timeout: Positive = 1800
    """Seconds that one of several processes (torchrun) waits for the others before it gives up."""
    log_every: Count = 20
    """Steps between two lines of the log."""
    checkpoint_every: Count = 1000
    """Steps between two checkpoints."""
    tensorboard: bool = True
    """Write scalars and pictures for TensorBoard."""
    pictures: CountOrZero = 8
    """Pictures of training targets and of detections to draw."""


class Config(Section):
    """A run, complete."""

    model: AnyOneModel = Model()
    data: Data = Data()
    train: Train = Train()
    eval: Eval = Eval()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _proposals_are_read(self) -> "Config":
        reads = self.model.proposer.type == "given"
        if reads and self.data.proposals is None:
            raise ValueError("model.proposer.type is given: data.proposals must name the files")
        if self.data.proposals is not None and not reads:
            raise ValueError("data.proposals is read by model.proposer.type: given only")
        return self

    @model_validator(mode="after")
    def _what_is_compiled_is_called(self) -> "Config":
        if self.runtime.compile and self.train.scheme.type == "alternating":
            raise ValueError(
                "runtime.compile translates a backbone as a whole, of which the stages of "
                "train.scheme.type: alternating call parts: turn one of the two off"
            )
        return self

    @model_validator(mode="after")
    def _there_is_something_to_alternate(self) -> "Config":
        if self.train.scheme.type == "alternating" and self.model.proposer.type != "rpn":
            raise ValueError(
                "train.scheme.type: alternating trains an RPN and a head in turn, and the model's "
                f"proposer is {self.model.proposer.type}"
            )
        return self
