"""The parts of a detector: backbones, what proposes, heads, and what chooses detections.

Sources: "paper" is arXiv 1605.06409; "Fast", "Faster" and "Mask R-CNN" are arXiv 1504.08083,
1506.01497 and 1703.06870; "He et al., 2016" is arXiv 1512.03385.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from rfcn.config.section import (
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Overlap,
    Positive,
    Section,
    whole,
)

# ------------------------------------------------------------------------------------- backbones


class ResNetBackbone(Section):
    """torchvision's ResNet. conv4 has stride 16; `model.roi_head.features` says what conv5 is."""

    type: Literal["resnet"] = "resnet"
    depth: Annotated[Literal[18, 34, 50, 101, 152], BeforeValidator(whole)] = 101
    """Layers (paper, section 3: 101 by default; table 'depth': 50, 101, 152)."""
    weights: str = "imagenet"
    """`imagenet` (torchvision's IMAGENET1K_V1), the name of another of its weight enums, `none`,
    or the path of a state dict of torchvision's key names, of the whole network or of its first
    stages."""
    frozen_stages: Annotated[Literal[0, 1, 2, 3, 4], BeforeValidator(whole)] = 2
    """How many stages are never trained: 1 is conv1, 2 is conv1 and conv2 (py-R-FCN), ..."""
    conv5_norm: Literal["frozen", "group", "batch"] = "frozen"
    """Normalisation inside conv5: `frozen` batch norm for pretrained weights (paper's code);
    `group` or live `batch` norm when conv5 is trained from scratch."""
    style: Literal["torchvision", "caffe"] = "torchvision"
    """What halves the maps: the 3x3 convolutions and a padded pool (`torchvision`), or the first
    1x1 of a block and a pool without padding (`caffe`: the released codes, and weights that
    `rfcn import-weights` brings from there)."""

    @model_validator(mode="after")
    def _weights_are_of_the_style(self) -> "ResNetBackbone":
        if self.style == "caffe" and self.weights.startswith(("imagenet", "IMAGENET1K_")):
            raise ValueError(
                f"weights {self.weights} are of style torchvision: style caffe needs none, or the "
                "path of a backbone that rfcn import-weights wrote"
            )
        return self


class TinyBackbone(Section):
    """A small residual network to be trained from scratch, for the demo and for tests."""

    type: Literal["tiny"]
    width: Count = 32
    """Channels of the first stage; each later stage doubles them, up to four times."""
    stride: Annotated[Literal[8, 16], BeforeValidator(whole)] = 16
    """Picture pixels a cell of the feature maps."""
    norm: Literal["group", "batch"] = "group"
    """Normalisation: groups of channels, or live batch statistics. Both look at the whole picture,
    padding included: best where the pictures of a batch have one size."""


class VGG16Backbone(Section):
    """torchvision's VGG-16 up to conv5_3, of stride 16 (Simonyan and Zisserman, 2015)."""

    type: Literal["vgg16"]
    weights: str = "imagenet"
    """`imagenet` (torchvision's IMAGENET1K_V1), the name of another of its weight enums, `none`,
    or the path of a state dict of torchvision's key names, of the whole network or of its first
    stages."""
    frozen_stages: Annotated[Literal[0, 1, 2, 3, 4], BeforeValidator(whole)] = 2
    """How many stages are never trained (Fast R-CNN, section 4.5: conv1 and conv2)."""


Backbone = Annotated[ResNetBackbone | VGG16Backbone | TinyBackbone, Field(discriminator="type")]


Features = Literal["conv5", "conv5_stride_32", "conv5_deformable", "conv4", "conv3", "conv2"]
"""Maps that a head can read."""


# --------------------------------------------------------------------------- proposals and RoIs


class Anchors(Section):
    """The reference boxes of the RPN (Faster R-CNN, section 3.1.1)."""

    base_size: Positive = 16
    """Side in pixels of the square the anchors are derived from."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Multiples of the base side: 128, 256 and 512 pixels (COCO adds 4)."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1, 2)
    """Height over width."""


class AnchorHead(Section):
    """What scores anchors, and how it is taught (Faster R-CNN, section 3.1)."""

    type: str
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
    candidates: Count = 6000
    """Best anchors that enter the NMS."""

    @model_validator(mode="after")
    def _thresholds(self) -> "AnchorHead":
        if self.negative_iou > self.positive_iou:
            raise ValueError("negative_iou must not exceed positive_iou")
        return self


class ClassAnchors(AnchorHead):
    """An RPN on conv5 whose classifier tells classes apart (paper, section 4.1)."""

    type: Literal["class_rpn"] = "class_rpn"
    features: Features = "conv5"
    """What it reads: `conv5` at stride 16, as in the paper; others as in `roi_head.features`."""


class RPN(AnchorHead):
    """Region proposal network on conv4 (paper, section 2; Faster R-CNN, section 3.1)."""

    type: Literal["rpn"] = "rpn"
    nms_threshold: Fraction = 0.7
    """Proposals that overlap a better one by more are dropped."""
    train_proposals: Count = 300
    """Proposals a picture in training (paper, section 3: N = 300)."""
    test_proposals: Count = 300
    """Proposals a picture at test (paper, section 3)."""
    min_size: NonNegative = 0
    """Proposals with a side below this many pixels of the original picture are dropped
    (Deformable-ConvNets: 0; py-R-FCN: 16)."""


class GivenProposals(Section):
    """No RPN: proposals of another program, read from `data.proposals` (Fast R-CNN)."""

    type: Literal["given"]
    train_proposals: Count = 2000
    """Most proposals a picture in training, the best of the file (Fast R-CNN: about 2000)."""
    test_proposals: Count = 2000
    """Most proposals a picture at test."""


class Proposals(Section):
    """Files of proposals, for a `model.proposer` of type `given`."""

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files that together hold the pictures of `data.train`: .mat as released with R-CNN, .npz as
    `rfcn make-proposals` writes, or JSON. A relative path counts from the working directory."""
    val: Annotated[tuple[str, ...], Field(min_length=1)]
    """The same for `data.val`."""
    corners: Literal["x1y1x2y2", "y1x1y2x2", "xywh"]
    """What the four numbers of a box are (the released Selective Search boxes: y1x1y2x2)."""
    pixels: Literal["one_based", "zero_based", "half_open"]
    """`one_based`: counted from 1, the last column and row belong to the box (MATLAB);
    `zero_based`: the same from 0; `half_open`: from 0, they do not (`rfcn make-proposals`)."""


Proposer = Annotated[RPN | GivenProposals, Field(discriminator="type")]


# ----------------------------------------------------------------------------------------- heads


BoxSets = Literal["agnostic", "background_foreground", "class_aware"]
Pooler = Literal["max", "average", "align"]
PSPooler = Literal["psroi_pool", "psroi_pool_paper", "psroi_pool_torchvision", "psroi_align"]


class RFCN(Section):
    """Position-sensitive score maps, pooling and voting (paper, section 2, equations 1 and 2)."""

    type: Literal["rfcn"] = "rfcn"
    features: Features = "conv5"
    """What the maps are made from: `conv5` at stride 16 (residual networks: by the hole algorithm,
    paper, section 2), `conv5_stride_32`, `conv5_deformable` (at stride 16, its 3x3 convolutions
    deformable), or `conv4`; of a tiny backbone also `conv3` and `conv2`, whose cells see 39 and 15
    pixels across."""
    k: Count = 7
    """Side of the grid: k*k bins, each read from a map of its own (paper: 7; ablation: 1 and 3)."""
    pooler: PSPooler = "psroi_pool"
    """How a bin is made of the cells of its map: their mean, with the corners of the released code,
    of the paper's text or of torchvision; or the mean of bilinear samples (RoI Align's way)."""
    reduction: Count = 1024
    """Width of the 1x1 convolution on the features (paper, section 2)."""
    box_sets: BoxSets = "background_foreground"
    """Box maps: 4k^2 for all classes (the paper), 8k^2 for background and foreground (the released
    code), or 4k^2(C+1), one set a class."""
    form: Literal["auto", "maps", "features"] = "auto"
    """How votes are computed, with the same numbers up to rounding: `maps` convolves all cells,
    then pools (the paper); `features` pools, then multiplies, which is cheaper with few RoIs or
    many classes; `auto` counts which."""

    @model_validator(mode="after")
    def _form_is_there(self) -> "RFCN":
        if self.form == "features" and self.pooler == "psroi_align":
            raise ValueError("form features is there for the psroi_pool poolers only, see pooler")
        return self


class NaiveFRCNN(Section):
    """Naive Faster R-CNN: RoIs pooled after conv5, then one layer of scores and one of boxes
    (paper, section 4.1 and table 2)."""

    type: Literal["naive_frcnn"]
    features: Features = "conv5"
    """What is pooled; see `rfcn`."""
    pool: Count = 7
    """Side of what a RoI is pooled to (paper, table 2: 7 and 1)."""
    pooler: Pooler = "max"
    """How a bin is made of its cells: their maximum (RoI pooling, Fast R-CNN), their average, or
    bilinear samples (RoI Align, Mask R-CNN)."""
    box_sets: BoxSets = "class_aware"
    """Boxes: one set, one for background and one for foreground, or one a class (Fast R-CNN)."""
    global_context: bool = False
    """The whole picture is one more RoI, and what comes out is put beside every other one before
    the two layers (He et al., 2016, appendix B: Faster R-CNN +++)."""


class C4FRCNN(Section):
    """Faster R-CNN of residual networks: RoIs pooled between conv4 and conv5, conv5 run on each
    (He et al., 2016, appendix A)."""

    type: Literal["c4_frcnn"]
    pool: Count = 14
    """Side of what a RoI is pooled to; conv5 halves it."""
    pooler: Pooler = "max"
    """See `naive_frcnn`."""
    box_sets: BoxSets = "class_aware"
    """See `naive_frcnn`."""
    global_context: bool = False
    """See `naive_frcnn`."""


class FCFRCNN(Section):
    """Faster R-CNN of VGG-16: RoIs pooled after conv5_3 to 7 x 7, fc6 and fc7 run on each (Faster
    R-CNN, section 3.3)."""

    type: Literal["fc_frcnn"]
    pooler: Pooler = "max"
    """See `naive_frcnn`."""
    box_sets: BoxSets = "class_aware"
    """See `naive_frcnn`."""
    global_context: bool = False
    """See `naive_frcnn`."""


class LightHead(Section):
    """Light-Head R-CNN: position-sensitive maps that do not grow with the classes, then one hidden
    layer on every RoI (arXiv 1711.07264, section 3)."""

    type: Literal["light_head"]
    features: Features = "conv5"
    """What the maps are made from; see `rfcn`."""
    k: Count = 7
    """Side of the grid."""
    pooler: PSPooler = "psroi_pool"
    """See `rfcn`."""
    channels: Count = 10
    """Numbers a bin is described by: 10 k^2 maps."""
    middle: Count = 256
    """Width inside the large separable convolution (64 for its small backbones)."""
    hidden: Count = 2048
    """Width of the layer on every RoI."""
    box_sets: BoxSets = "agnostic"
    """See `naive_frcnn`."""


class DeformableRFCN(Section):
    """R-FCN whose bins are shifted to where the network looks (arXiv 1703.06211, section 3)."""

    type: Literal["deformable_rfcn"]
    features: Features = "conv5_deformable"
    """What the maps are made from; see `rfcn`."""
    k: Count = 7
    """Side of the grid."""
    reduction: Count = 1024
    """Width of the 1x1 convolution on the features."""
    box_sets: BoxSets = "background_foreground"
    """See `rfcn`."""


AnyRoIHead = RFCN | NaiveFRCNN | C4FRCNN | FCFRCNN | LightHead | DeformableRFCN
RoIHead = Annotated[AnyRoIHead, Field(discriminator="type")]


# --------------------------------------------------------------------------------------- at test


class NMS(Section):
    """Doubles are dropped: detections of a class that overlap a better one by more than
    `nms_threshold` (paper, section 3)."""

    type: Literal["nms"] = "nms"


class SoftNMS(Section):
    """Doubles stay with a lower score, best first (arXiv 1704.04503, section 3)."""

    type: Literal["soft_nms"]
    method: Literal["linear", "gaussian"] = "linear"
    """`linear`: above `nms_threshold` a score falls to s (1 - IoU); `gaussian`: any overlap costs,
    s exp(-IoU^2 / sigma), and `nms_threshold` is not read."""
    sigma: Positive = 0.5
    """How far `gaussian` reaches; `linear` does not read it."""


Suppression = Annotated[NMS | SoftNMS, Field(discriminator="type")]


class BoxVoting(Section):
    """Each detection moves to the mean of the boxes of its class that overlap it, weighted by their
    scores (arXiv 1505.01749, section 5)."""

    threshold: Overlap = 0.5
    """Least IoU with the detection that gives a vote."""
    scoring: Literal["keep", "average", "maximum"] = "keep"
    """The new score: the detection's own, or the average or the maximum of the voters'."""


class PostProcess(Section):
    """From scores and offsets to detections."""

    score_threshold: Fraction = 1e-3
    """Weaker detections are dropped (Deformable-ConvNets)."""
    nms_threshold: Fraction = 0.3
    """Largest IoU of two detections of a class that costs the weaker nothing (paper, section 3);
    `suppression` says what more of it costs."""
    suppression: Suppression = NMS()
    """What becomes of the weaker of two detections that are one too many."""
    box_voting: BoxVoting | None = None
    """Move what is left to where the others are; nothing: leave it where it is."""
    max_detections: Count = 300
    """Most detections a picture (Deformable-ConvNets; 100 on COCO)."""


class TestTime(Section):
    """What a test does beyond one look (He et al., 2016, appendix B: "Faster R-CNN +++")."""

    short_sides: tuple[Count, ...] = ()
    """Short sides in pixels to look at, each with a longest side in the proportion of
    `data.max_long_side` to `data.test_short_side` (paper, table 6: 200, 400, 600, 800, 1000);
    nothing: `data.test_short_side` alone."""
    assignment: Literal["nearest", "adjacent", "every"] = "nearest"
    """With several sizes, a RoI is read where its area is nearest to 224 x 224 pixels (SPPnet,
    py-R-FCN); at the two nearest, merged by maxout before the last layers (`adjacent`: +++); or at
    `every` size."""
    flip: bool = False
    """Look at the mirrored pictures too, and average."""
    box_iterations: CountOrZero = 0
    """How often regressed boxes become RoIs again (+++: 1)."""
