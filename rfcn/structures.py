"""The data that flows along the spine: no behaviour, only named fields with shapes.

Legend: N pictures, G ground-truth boxes of a picture, P proposals of a picture, R RoIs of the
batch, C classes without background, S box sets, H x W picture or feature size in cells.

Boxes are float32 (x1, y1, x2, y2), half-open, 0-based, in picture pixels (see `rfcn.boxes`).
Label 0 is background everywhere; classes are 1..C.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Target:
    """What is true of one picture, in the pixels of the picture it travels with."""

    boxes: Tensor
    """[G, 4] float32."""
    labels: Tensor
    """[G] int64, 1..C."""
    difficult: Tensor
    """[G] bool: ignored by the evaluation; training never sees such a box unless asked to."""
    seed: int = 0
    """Drives every random choice made for this picture (anchor and RoI sampling), so that neither
    the batch it falls into, nor the rank, nor a resume can change it."""

    def to(self, device: torch.device | str) -> "Target":
        """The same target with its tensors on `device`."""
        return replace(
            self,
            boxes=self.boxes.to(device),
            labels=self.labels.to(device),
            difficult=self.difficult.to(device),
        )


@dataclass(frozen=True)
class ImageBatch:
    """N pictures, resized, padded at the right and the bottom to one size."""

    tensor: Tensor
    """[N, 3, H, W] uint8 RGB, 0 where padded. The model normalises it (and keeps the padding 0)."""
    sizes: list[tuple[int, int]]
    """(height, width) of each resized picture inside the padding, in pixels."""
    original_sizes: list[tuple[int, int]]
    """(height, width) of each picture as it lies on disk (upright), in pixels."""
    ids: list[str] = field(default_factory=list)
    """Name of each picture in its data set."""
    proposals: list[Tensor] | None = None
    """[P_i, 4] float32 a picture, best first, where they come from files; None otherwise."""
    share: float = 1.0
    """What part of the pictures of a training step this is, over all pieces and processes: the
    weight of its mean losses. 0 for one that only keeps its process in step with the others."""

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device | str) -> "ImageBatch":
        """The same batch with its pixels and proposals on `device`."""
        proposals = self.proposals
        if proposals is not None:
            proposals = [one.to(device, non_blocking=True) for one in proposals]
        return replace(self, tensor=self.tensor.to(device, non_blocking=True), proposals=proposals)


@dataclass(frozen=True)
class Pyramid:
    """The same N pictures at several sizes, for a test at several scales."""

    levels: tuple[ImageBatch, ...]
    """One batch a scale."""

    def __len__(self) -> int:
        return len(self.levels[0])

    @property
    def ids(self) -> list[str]:
        """Name of each picture in its data set."""
        return self.levels[0].ids

    def to(self, device: torch.device | str) -> "Pyramid":
        """The same pictures with their pixels on `device`."""
        return Pyramid(tuple(level.to(device) for level in self.levels))


class Features(NamedTuple):
    """What a backbone gives: conv4 for the RPN, conv5 for the RoI head (paper, section 2)."""

    rpn: Tensor
    """[N, Cr, H, W]"""
    roi: Tensor
    """[N, Cf, H, W]"""


@dataclass(frozen=True)
class RoISample:
    """The RoIs one training step looks at, with what they should have been. Picture by picture."""

    boxes: list[Tensor]
    """N tensors [R_i, 4]."""
    labels: list[Tensor]
    """N tensors [R_i] int64, 0 = background."""
    box_targets: list[Tensor]
    """N tensors [R_i, 4] float32: encoded offsets to the matched box, zero for background."""


class RoIOutputs(NamedTuple):
    """What every RoI head returns, in training and at test alike: raw numbers, nothing decided."""

    class_logits: Tensor
    """[R, C+1]"""
    box_deltas: Tensor
    """[R, S, 4]: S is 1 (one set for all), 2 (background, foreground) or C+1 (one a class)."""


class Candidates(NamedTuple):
    """What the RoIs of one picture say, before any of them is chosen."""

    boxes: Tensor
    """[P, S, 4] in pixels of the original picture."""
    scores: Tensor
    """[P, C+1], 0..1."""
    rois: Tensor
    """[P] int64: the proposal each one was made from."""


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first, in pixels of the original picture."""

    boxes: Tensor
    """[D, 4] float32."""
    scores: Tensor
    """[D] float32, 0..1."""
    labels: Tensor
    """[D] int64, 1..C."""
    rois: Tensor | None = None
    """[D] int64: the proposal of its picture that each one was made from, where known."""

    def __len__(self) -> int:
        return self.scores.shape[0]

    def to(self, device: torch.device | str) -> Self:
        """The same detections with their tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def above(self, threshold: float) -> Self:
        """Those with a score of at least `threshold`."""
        return self.rows(self.scores >= threshold)

    def rows(self, chosen: Tensor | slice) -> Self:
        """Those that a mask [D] bool, places [n] int64 or a slice chooses."""
        return self._map(lambda tensor: tensor[chosen])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self,
            boxes=change(self.boxes),
            scores=change(self.scores),
            labels=change(self.labels),
            rois=None if self.rois is None else change(self.rois),
        )
