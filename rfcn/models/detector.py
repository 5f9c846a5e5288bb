"""The spine: picture -> backbone -> proposals -> score maps -> vote -> loss or detections."""

from collections.abc import Callable, Sequence
from typing import Protocol, cast, overload

import torch
from torch import Tensor, nn

from rfcn.boxes import to_rois
from rfcn.models.losses import OnlineHardExampleLoss, RoILoss, foreground_per_image
from rfcn.structures import (
    Candidates,
    Detections,
    Features,
    ImageBatch,
    RoIOutputs,
    RoISample,
    Target,
)

RoISampler = Callable[[Sequence[Tensor], Sequence[Target]], RoISample]


class RoIHead(Protocol):
    """(features [N, Cf, H, W], rois [R, 5]) -> `RoIOutputs`.

    One that has `reads_pictures`, and true, takes a third argument: each picture as a RoI [N, 5].
    """

    inclusive_corners: bool
    """Whether the RoI rows carry inclusive corners (see `rfcn.boxes.to_rois`)."""

    def __call__(self, features: Tensor, rois: Tensor) -> RoIOutputs: ...


class DescribingHead(RoIHead, Protocol):
    """A head in two steps: what its last layers read of each RoI [R, D], and what they say."""

    def describe(self, features: Tensor, *regions: Tensor) -> Tensor: ...

    def judge(self, described: Tensor) -> RoIOutputs: ...


class PostProcessor(Protocol):
    """(outputs, proposals, batch) -> detections, in two steps that can also be taken apart."""

    def __call__(
        self, outputs: RoIOutputs, proposals: Sequence[Tensor], batch: ImageBatch
    ) -> list[Detections]: ...

    def candidates(
        self, outputs: RoIOutputs, proposals: Sequence[Tensor], batch: ImageBatch
    ) -> list[Candidates]: ...

    def select(self, candidates: Candidates) -> Detections: ...


class Normalize(nn.Module):
    """(bytes - mean) / std, with the padding put back to zero.

    The numbers belong to the weights: they are buffers, and travel with them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, numbers in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, batch: ImageBatch) -> Tensor:
        """[N, 3, H, W] uint8 -> float32 of the same shape."""
        # In place, on a copy: room for a whole batch of floats costs as much as filling it.
        images = batch.tensor.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)
        for image, (height, width) in zip(images, batch.sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return images


class TwoStageDetector(nn.Module):
    """Any two-stage detector: what it is made of is what it is given.

    Args:
        normalize: batch -> normalised pictures [N, 3, H, W].
        backbone: pictures -> `Features`.
        proposer: (batch, features, targets or None) -> (proposals, losses).
        roi_head: (features, rois) -> `RoIOutputs`.
        sampler: (proposals, targets) -> `RoISample`.
        roi_loss: (outputs, sample) -> losses.
        postprocess: (outputs, proposals, batch) -> detections.
    """

    figures: dict[str, Tensor]
    """What is worth a log of the last training batch beside its losses: scalars without gradient,
    means over its pictures. `fg_rois_per_image`: sampled RoIs that are foreground; and those of the
    loss (see `MeanLoss.figures`)."""

    def __init__(
        self,
        *,
        normalize: nn.Module,
        backbone: nn.Module,
        proposer: nn.Module,
        roi_head: nn.Module,
        sampler: RoISampler,
        roi_loss: RoILoss,
        postprocess: PostProcessor,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.proposer = proposer
        self.roi_head = roi_head
        self.sampler = sampler
        self.roi_loss = roi_loss
        self.postprocess = postprocess
        self.figures = {}

    @overload
    def forward(self, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]: ...

    @overload
    def forward(self, batch: ImageBatch, targets: None = None) -> list[Detections]: ...

    def forward(
        self, batch: ImageBatch, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """With targets, a dict of scalar losses; without, the detections of each picture."""
        features = self.features(batch)
        proposals, losses = self.proposer(batch, features, targets)
        if targets is None:
            outputs = self.look(batch, features, proposals)
            return self.postprocess(outputs, proposals, batch)
        return {**losses, **self.head_losses(batch, features, proposals, targets)}

    def head_losses(
        self,
        batch: ImageBatch,
        features: Features,
        proposals: Sequence[Tensor],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        """What the head loses on these proposals, N tensors [P_i, 4]."""
        offered = self.sampler(proposals, targets)
        sample = self.choose(offered, batch, features)
        outputs = self.look(batch, features, sample.boxes)
        losses = self.roi_loss(outputs, sample)
        self.figures = {
            "fg_rois_per_image": foreground_per_image(offered.labels),
            **getattr(self.roi_loss, "figures", {}),
        }
        return losses

    def choose(self, sample: RoISample, batch: ImageBatch, features: Features) -> RoISample:
        """The RoIs that a training step goes on with: here all that were sampled."""
        return sample

    def look(self, batch: ImageBatch, features: Features, boxes: Sequence[Tensor]) -> RoIOutputs:
        """What the head says of boxes [R_i, 4] of each picture."""
        outputs: RoIOutputs = self.roi_head(features.roi, *self.regions(batch, boxes))
        return outputs

    @property
    def describing_head(self) -> DescribingHead:
        """The head, where it has the two steps."""
        return cast(DescribingHead, self.roi_head)

    def regions(self, batch: ImageBatch, boxes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the head is asked about: RoI rows [R, 5] and, of a head that reads whole pictures,
        a row for each picture [N, 5]."""
        rois = self.rois(boxes)
        if not getattr(self.roi_head, "reads_pictures", False):
            return (rois,)
        return rois, self.rois([rois.new_tensor([[0, 0, w, h]]) for h, w in batch.sizes])

    def features(self, batch: ImageBatch) -> Features:
        """The backbone's maps of a batch."""
        features: Features = self.backbone(self.normalize(batch))
        return features

    def rois(self, boxes: Sequence[Tensor]) -> Tensor:
        """Boxes of each picture as the RoI rows [R, 5] its head takes."""
        return to_rois(boxes, inclusive=bool(self.roi_head.inclusive_corners))


class TwoPassDetector(TwoStageDetector):
    """OHEM in two passes: all RoIs forward without gradient, then the hardest forward and backward
    (Shrivastava et al., 2016, section 4.2).

    Losses and gradients are those of one pass; the memory and the backward are those of the RoIs
    that are kept. It is for heads that compute much on every RoI, whose loss is an OHEM loss.
    """

    roi_loss: OnlineHardExampleLoss

    @torch.no_grad()
    def choose(self, sample: RoISample, batch: ImageBatch, features: Features) -> RoISample:
        """The RoIs of highest loss of each picture."""
        outputs = self.look(batch, features, sample.boxes)
        kept = self.roi_loss.hardest(outputs, sample)
        columns = (sample.boxes, sample.labels, sample.box_targets)
        return RoISample(*([one[k] for one, k in zip(c, kept, strict=True)] for c in columns))
