"""A detector as torchvision's are called, for code that was written around those."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfcn.config.schema import Config
from rfcn.datasets.loader import collate
from rfcn.datasets.sample import Sample
from rfcn.datasets.transforms import resize
from rfcn.inference.pictures import read_picture
from rfcn.structures import Detections, Target

Answer = dict[str, Tensor] | list[dict[str, Tensor]]


class TorchvisionDetector(nn.Module):
    """torchvision's contract: in evaluation mode `model(pictures)` is a list of dicts with `boxes`
    [D, 4], `labels` [D] and `scores` [D], best first; in training mode `model(pictures, targets)`
    is a dict of scalar losses.

    Pictures are float tensors [3, H, W], 0..1, RGB, of any sizes, each rounded to bytes as in its
    file; labels count from 1, 0 is background; boxes are (x1, y1, x2, y2) in pixels of the picture.
    Targets are dicts with `boxes` [G, 4] and `labels` [G]. Detections lie on the device of their
    picture. Pictures get no gradient.

    Args:
        model: the detector, whose weights are shared. config: how pictures are resized.
        predict: what finds the detections of a list of pictures.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Config,
        *,
        predict: Callable[[list[Tensor]], Sequence[Detections]],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.predict = predict
        self.train()

    def train(self, mode: bool = True) -> "TorchvisionDetector":
        """Choose what a call gives: losses, or (False) detections."""
        super().train(mode)
        self._answer: Callable[..., Answer] = self.losses if mode else self.detections
        return self

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Any]] | None = None
    ) -> Answer:
        """`losses` in training mode, else `detections`."""
        return self._answer(images, targets)

    def detections(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Any]] | None = None
    ) -> list[dict[str, Tensor]]:
        """What is found in each picture; targets are not looked at, as in torchvision.

        Raises:
            ValueError: one of them is no picture.
        """
        return [
            {
                "boxes": found.boxes.to(image.device),
                "labels": found.labels.to(image.device),
                "scores": found.scores.to(image.device),
            }
            for image, found in zip(images, self.predict(list(images)), strict=True)
        ]

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Any]] | None = None
    ) -> dict[str, Tensor]:
        """The losses of a training step. The short side and the seeds of sampling are drawn from
        torch's generator; pictures are not mirrored, which torchvision leaves to the data too.

        Raises:
            ValueError: there are no targets, or they do not fit.
        """
        if targets is None or len(targets) != len(images):
            raise ValueError("in training mode a detector needs a target for every picture")
        sides = self.config.data.train_short_sides
        short_side = sides[int(torch.randint(len(sides), ()))]
        samples = [
            resize(
                _sample(image, target),
                short_side=short_side,
                max_long_side=self.config.data.max_long_side,
            )
            for image, target in zip(images, targets, strict=True)
        ]
        batch, truths = collate(samples)
        device = next(self.model.parameters()).device
        losses: dict[str, Tensor] = self.model(
            batch.to(device), [truth.to(device) for truth in truths]
        )
        return losses


def _sample(image: Tensor, target: Mapping[str, Any]) -> Sample:
    """A picture with its truth. Raises ValueError for boxes without area or labels below 1."""
    boxes = torch.as_tensor(target["boxes"], dtype=torch.float32).cpu().reshape(-1, 4)
    labels = torch.as_tensor(target["labels"], dtype=torch.int64).cpu()
    if labels.shape != boxes.shape[:1]:
        raise ValueError(f"a target has {len(boxes)} boxes and labels {list(labels.shape)}")
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("a target has a box without area: boxes are (x1, y1, x2, y2)")
    if (labels < 1).any():
        raise ValueError(f"a target has the label {int(labels.min())}: classes count from 1")
    truth = Target(
        boxes=boxes,
        labels=labels,
        difficult=torch.zeros(len(labels), dtype=torch.bool),
        seed=int(torch.randint(2**31, ())),
    )
    return Sample(read_picture(image), truth, id="", path=Path())
