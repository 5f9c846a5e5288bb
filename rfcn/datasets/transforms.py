"""Resizing and mirroring: pure functions from sample to sample, boxes and pixels together."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from torch import Tensor

from rfcn import boxes
from rfcn.datasets.sample import Sample
from rfcn.structures import Target


def fitted_size(size: tuple[int, int], *, short_side: int, max_long_side: int) -> tuple[int, int]:
    """(height, width) after resizing: the short side as asked, unless the long one would exceed
    its limit (Faster R-CNN, section 3.3; py-R-FCN). Whole pixels, at least 1."""
    scale = min(short_side / min(size), max_long_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """image: [H, W, 3] uint8 -> [h, w, 3] uint8, where size is (h, w).

    Bilinear, as in py-R-FCN; the mean of the covered area where a picture shrinks below half, for
    bilinear sampling then steps over pixels.
    """
    if image.shape[:2] == size:
        return image
    shrink = min(size[0] / image.shape[0], size[1] / image.shape[1])
    method = cv2.INTER_AREA if shrink < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


def resize(sample: Sample, *, short_side: int, max_long_side: int) -> Sample:
    """The sample at the size of `fitted_size`; its boxes scaled axis by axis, since sides round."""
    original = sample.original_size or sample.size
    size = fitted_size(original, short_side=short_side, max_long_side=max_long_side)

    def move(these: Tensor) -> Tensor:
        # Cut, for rounding may carry an edge past that of the picture by a hair.
        return boxes.clip(boxes.rescale(these, sample.size, size), size)

    return replace(
        _moved(sample, move),
        image=resize_image(sample.image, size),
        original_size=original,
    )


def flip(sample: Sample) -> Sample:
    """The sample in the mirror: column x becomes W - 1 - x, so an edge at x moves to W - x."""
    return replace(
        _moved(sample, lambda these: boxes.mirror(these, sample.size[1])),
        image=cv2.flip(sample.image, 1),
    )


def _moved(sample: Sample, move: Callable[[Tensor], Tensor]) -> Sample:
    """The sample with all its boxes moved: those of objects and, where it has them, proposals."""
    return replace(
        sample,
        target=replace(sample.target, boxes=move(sample.target.boxes)),
        proposals=None if sample.proposals is None else move(sample.proposals),
    )


def without_difficult(target: Target) -> Target:
    """The target without the objects marked difficult."""
    keep = ~target.difficult
    return replace(
        target,
        boxes=target.boxes[keep],
        labels=target.labels[keep],
        difficult=target.difficult[keep],
    )


@dataclass(frozen=True)
class TrainTransform:
    """What happens to a picture before training: a pure function of (seed, epoch, index).

    The short side comes with the call, for it is chosen once a batch.
    """

    max_long_side: int
    flip: bool
    """Mirror half of the pictures."""
    use_difficult: bool
    """Keep the objects marked difficult."""
    seed: int

    def __call__(self, sample: Sample, *, short_side: int, epoch: int, index: int) -> Sample:
        """The sample as it enters a batch; its target's `seed` is drawn here too."""
        chance = np.random.default_rng((self.seed, epoch, index))
        mirrored = self.flip and chance.random() < 0.5
        target = sample.target if self.use_difficult else without_difficult(sample.target)
        target = replace(target, seed=int(chance.integers(2**31)))
        sample = resize(
            replace(sample, target=target),
            short_side=short_side,
            max_long_side=self.max_long_side,
        )
        return flip(sample) if mirrored else sample
