"""The losses of a head's RoIs: which of them count."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from rfcn.config.section import Count, Fraction, Overlap, Section, whole


class OHEM(Section):
    """Online hard example mining: all RoIs forward, the hardest backward (paper, section 2)."""

    type: Literal["ohem"] = "ohem"
    keep: Count = 128
    """RoIs of highest loss (class + box) that are kept a picture (paper, section 3: B = 128)."""
    foreground_iou: Overlap = 0.5
    """A RoI is foreground from this IoU on (paper, section 2)."""
    passes: Annotated[Literal[1, 2], BeforeValidator(whole)] = 1
    """1: the RoIs that are not kept get no gradient. 2: all RoIs are ranked in a pass without
    gradient, then those that are kept pass anew; the same figures, cheaper for heads that compute
    much on every RoI (Shrivastava et al., 2016, section 4.2)."""


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
