"""Every knob, once: type, default, range, unit and source. Needs no torch, so it loads at once.

Sources: "paper" is arXiv 1605.06409; "py-R-FCN" and "Deformable-ConvNets" are the released Python
and MXNet codes, followed where the paper is silent. `rfcn show-config --published` prints each
default beside theirs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rfcn.config.classes import check_class_names


def _whole(value: object) -> object:
    """Python takes `true` for 1 and 50.0 for 50, and so would a literal; a config must not."""
    if type(value) is not int:
        raise ValueError(f"expected an integer, found {value!r}")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Overlap = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Offsets = tuple[Positive, Positive, Positive, Positive]
Pixels = tuple[float, float, float]


class Section(BaseModel):
    """A frozen mapping that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


# ------------------------------------------------------------------------------------- backbones


class ResNetBackbone(Section):
    """torchvision's ResNet, conv5 at stride 16 with the hole algorithm (paper, section 2)."""

    type: Literal["resnet"] = "resnet"
    depth: Annotated[Literal[18, 34, 50, 101, 152], BeforeValidator(_whole)] = 101
    """Layers (paper, section 3: 101 by default; table 'depth': 50, 101, 152)."""
    weights: str = "imagenet"
    """`imagenet` (torchvision's IMAGENET1K_V1), the name of another of its weight enums, `none`,
    or the path of a state dict of torchvision's key names, of the whole network or of its first
    stages."""
    frozen_stages: Annotated[Literal[0, 1, 2, 3, 4], BeforeValidator(_whole)] = 2
    """How many stages are never trained: 1 is conv1, 2 is conv1 and conv2 (py-R-FCN), ..."""
    conv5_norm: Literal["frozen", "group", "batch"] = "frozen"
    """Normalisation inside conv5: `frozen` batch norm for pretrained weights (paper's code);
    `group` or live `batch` norm when conv5 is trained from scratch."""


class TinyBackbone(Section):
    """A small residual network to be trained from scratch, for the demo and for tests."""

    type: Literal["tiny"]
    width: Count = 32
    """Channels of the first stage; each later stage doubles them, up to four times."""
    stride: Annotated[Literal[8, 16], BeforeValidator(_whole)] = 16
    """Picture pixels a cell of the feature maps."""
    norm: Literal["group", "batch"] = "group"
    """Normalisation: groups of channels, or live batch statistics. Both look at the whole picture,
    padding included: best where the pictures of a batch have one size."""


Backbone = Annotated[ResNetBackbone | TinyBackbone, Field(discriminator="type")]


# --------------------------------------------------------------------------- proposals and RoIs


class Anchors(Section):
    """The reference boxes of the RPN (Faster R-CNN, section 3.1.1)."""

    base_size: Positive = 16
    """Side in pixels of the square the anchors are derived from."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Multiples of the base side: 128, 256 and 512 pixels (COCO adds 4)."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1, 2)
    """Height over width."""


class RPN(Section):
    """Region proposal network on conv4 (paper, section 2; Faster R-CNN, section 3.1)."""

    type: Literal["rpn"] = "rpn"
    anchors: Anchors = Anchors()
    channels: Count = 512
    """Width of its 3x3 convolution."""
    positive_iou: Fraction = 0.7
    """An anchor is positive from this IoU on, or when it is the best of a ground-truth box."""
    negative_iou: Fraction = 0.3
    """An anchor is negative below this IoU."""
    batch: Count = 256
    """Anchors sampled a picture for the loss."""
    positive_fraction: Fraction = 0.5
    """Most positives among them."""
    box_loss_sigma: Positive = 3
    """Smooth L1 is quadratic below 1/sigma^2."""
    nms_threshold: Fraction = 0.7
    """Proposals that overlap a better one by more are dropped."""
    candidates: Count = 6000
    """Best anchors that enter the NMS."""
    train_proposals: Count = 300
    """Proposals a picture in training (paper, section 3: N = 300)."""
    test_proposals: Count = 300
    """Proposals a picture at test (paper, section 3)."""
    min_size: NonNegative = 0
    """Proposals with a side below this many pixels of the original picture are dropped
    (Deformable-ConvNets: 0; py-R-FCN: 16)."""

    @model_validator(mode="after")
    def _thresholds(self) -> "RPN":
        if self.negative_iou > self.positive_iou:
            raise ValueError("negative_iou must not exceed positive_iou")
        return self


# ----------------------------------------------------------------------------------------- heads


class RFCN(Section):
    """Position-sensitive score maps, pooling and voting (paper, section 2, equations 1 and 2)."""

    type: Literal["rfcn"] = "rfcn"
    k: Count = 7
    """Side of the grid: k*k bins, each read from a map of its own (paper: 7; ablation: 1 and 3)."""
    reduction: Count = 1024
    """Width of the 1x1 convolution on conv5 (paper, section 2)."""
    box_sets: Literal["agnostic", "background_foreground", "class_aware"] = "background_foreground"
    """Box maps: 4k^2 for all classes (the paper), 8k^2 for background and foreground (the released
    code), or 4k^2(C+1), one set a class."""


# ---------------------------------------------------------------------------------------- losses


class OHEM(Section):
    """Online hard example mining: all RoIs forward, the hardest backward (paper, section 2)."""

    type: Literal["ohem"] = "ohem"
    keep: Count = 128
    """RoIs of highest loss (class + box) that are kept a picture (paper, section 3: B = 128)."""
    foreground_iou: Overlap = 0.5
    """A RoI is foreground from this IoU on (paper, section 2)."""


class Sampled(Section):
    """Random sampling of RoIs at a fixed share of foreground (Fast R-CNN, section 2.3)."""

    type: Literal["sampled"]
    rois: Count = 128
    """RoIs a picture (Deformable-ConvNets: BATCH_ROIS 128)."""
    foreground_fraction: Fraction = 0.25
    """Most foreground among them."""
    foreground_iou: Overlap = 0.5
    """A RoI is foreground from this IoU on (paper, section 2)."""
    background_iou: Fraction = 0.1
    """A RoI is background from this IoU on, below `foreground_iou` (py-R-FCN without OHEM)."""

    @model_validator(mode="after")
    def _thresholds(self) -> "Sampled":
        if self.background_iou >= self.foreground_iou:
            raise ValueError("background_iou must be below foreground_iou")
        return self


RoILoss = Annotated[OHEM | Sampled, Field(discriminator="type")]


class PostProcess(Section):
    """From scores and offsets to detections."""

    score_threshold: Fraction = 1e-3
    """Weaker detections are dropped (Deformable-ConvNets)."""
    nms_threshold: Fraction = 0.3
    """Detections of a class that overlap a better one by more are dropped (paper, section 3)."""
    max_detections: Count = 300
    """Most detections a picture (Deformable-ConvNets; 100 on COCO)."""


class TestTime(Section):
    """What a test does beyond one look (He et al., 2016, appendix B: "Faster R-CNN +++")."""

    short_sides: tuple[Count, ...] = ()
    """Short sides in pixels to look at, each with a longest side in the proportion of
    `data.max_long_side` to `data.test_short_side` (paper, table 6: 200, 400, 600, 800, 1000);
    nothing: `data.test_short_side` alone."""
    assignment: Literal["nearest", "every"] = "nearest"
    """With several sizes, a RoI is read where its area is nearest to 224 x 224 pixels (SPPnet,
    py-R-FCN), or at `every` size."""
    flip: bool = False
    """Look at the mirrored pictures too, and average."""
    box_iterations: CountOrZero = 0
    """How often regressed boxes become RoIs again (+++: 1)."""


class Model(Section):
    """The spine: backbone, proposals, head, loss, post-processing."""

    backbone: Backbone = ResNetBackbone()
    proposer: RPN = RPN()
    roi_head: RFCN = RFCN()
    roi_loss: RoILoss = OHEM()
    hidden_init: Literal["gaussian", "kaiming"] = "gaussian"
    """How the new hidden convolutions start (the RPN's 3x3, the head's 1x1): `gaussian` of
    deviation 0.01 (py-R-FCN), or `kaiming` (He et al., 2015), with which short schedules learn
    faster. The layers that score are always gaussian."""
    box_std: Offsets = (0.1, 0.1, 0.2, 0.2)
    """The head's box targets are divided by these (py-R-FCN, Deformable-ConvNets)."""
    box_loss_weight: NonNegative = 1
    """lambda of the paper's loss (section 2)."""
    postprocess: PostProcess = PostProcess()
    test_time: TestTime = TestTime()
    pixel_mean: Pixels = (123.675, 116.28, 103.53)
    """Subtracted from the RGB bytes: what torchvision's ImageNet weights were trained with."""
    pixel_std: Pixels = (58.395, 57.12, 57.375)
    """Divides them afterwards."""


# ------------------------------------------------------------------------------------------ data


class Data(Section):
    """Which pictures, which classes, and how they are resized."""

    format: Literal["voc"] = "voc"
    """Layout on disk: Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/*."""
    root: str = "data/VOCdevkit"
    """Folder of the data. A relative path counts from the working directory."""
    train: str = "voc_2007_trainval+voc_2012_trainval"
    """Sets to train on, joined by `+`: `voc_2007_trainval` is VOC2007/ImageSets/Main/trainval.txt
    below the root; any other name NAME is ImageSets/Main/NAME.txt of the root itself."""
    val: str = "voc_2007_test"
    """Sets to evaluate on, written the same way."""
    classes: tuple[str, ...] | str | None = None
    """Class names in the order of their labels; or a text file with one a line; or nothing: the
    names found in the training annotations, sorted. Their number is never typed."""
    unknown_class: Literal["stop", "skip"] = "stop"
    """What to do with an object whose class is not listed."""
    bad_box: Literal["stop", "drop"] = "drop"
    """What to do with a box without area; both say how many there are and where."""
    use_difficult: bool = False
    """Train on objects marked difficult (py-R-FCN: no)."""
    train_short_sides: Annotated[tuple[Count, ...], Field(min_length=1)] = (600,)
    """Short side in pixels, drawn anew for every training batch (paper, section 3: 600;
    multi-scale: 400, 500, 600, 700, 800)."""
    test_short_side: Count = 600
    """Short side in pixels at test (paper, section 3)."""
    max_long_side: Count = 1000
    """The long side never exceeds this; the short side yields (py-R-FCN)."""
    flip: bool = True
    """Mirror half of the training pictures (py-R-FCN)."""
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
    momentum: Fraction = 0.9
    """SGD momentum (paper, section 3)."""
    weight_decay: NonNegative = 5e-4
    """SGD weight decay (paper, section 3)."""
    bias_lr_factor: Positive = 2
    """Rate of the biases of new layers, relative to `lr` (py-R-FCN)."""
    max_gradient_norm: Positive | None = 35.0
    """Gradients longer than this are shortened to it: far above healthy ones, it only stops a
    runaway step. Nothing turns it off, as in the published codes."""

    @model_validator(mode="after")
    def _schedule(self) -> "Train":
        if list(self.lr_steps) != sorted(set(self.lr_steps)):
            raise ValueError("lr_steps must increase")
        if self.lr_steps and self.lr_steps[-1] >= self.iterations:
            raise ValueError("lr_steps must stay below iterations")
        if self.warmup_iterations >= self.iterations:
            raise ValueError("warmup_iterations must be below iterations")
        return self


class Eval(Section):
    """What is measured."""

    iou_thresholds: Annotated[tuple[Overlap, ...], Field(min_length=1)] = (0.5, 0.7)
    """Overlaps from which a detection counts."""
    devkit: bool = False
    """Take the 11 recalls as multiples of the float 0.1, as VOC's own tools do, so that the
    11-point figures agree with them to the last digit."""
    every: CountOrZero = 0
    """Evaluate each time after so many training steps; 0 evaluates at the end only."""
    floor: Fraction | None = None
    """mAP at the first threshold (area) below which the command ends with a failure."""


class Runtime(Section):
    """The machine, the seed and what is written down."""

    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    seed: CountOrZero = 0
    """Drives initial weights, order, augmentation and sampling."""
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

    model: Model = Model()
    data: Data = Data()
    train: Train = Train()
    eval: Eval = Eval()
    runtime: Runtime = Runtime()
