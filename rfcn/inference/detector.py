"""A trained detector behind one call: pictures in, detections out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfcn.build import AnyDetector, build_detector, build_tester, test_sizes
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.datasets.loader import collate
from rfcn.datasets.sample import Sample
from rfcn.datasets.transforms import resize
from rfcn.engine.weights import load_into, load_weights
from rfcn.structures import Detections, ImageBatch, Pyramid, Target
from rfcn.visualization.draw import check_picture


class Detector:
    """A detector with its class names and its preprocessing, ready to use.

    Args:
        model: moved to `device` and put into evaluation mode.
        class_names: label 1 is the first. config: how pictures are resized.
    """

    def __init__(
        self,
        model: AnyDetector,
        *,
        class_names: Sequence[str],
        config: Config,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        # as in training: fast, and the same figures to the last bit
        self.model.to(memory_format=torch.channels_last)
        self.tester = build_tester(self.model, config.model).eval()
        self.class_names = tuple(class_names)
        self.config = config

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: torch.device | str = "cpu") -> "Detector":
        """The detector of a weights folder (or of its `model.safetensors` alone).

        Raises:
            WeightsError: the file is missing, broken, or not one of ours.
        """
        state, metadata = load_weights(Path(path))
        config = config_from_mapping(metadata["config"], source=f"{path}: stored config")
        model = build_detector(config.model, metadata["classes"], pretrained=False)
        load_into(model, state)
        return cls(model, class_names=metadata["classes"], config=config, device=device)

    def with_config(self, config: Config) -> "Detector":
        """The same weights as another config has them used: how doubles are chosen among, at which
        sizes it looks, how many proposals there are. A config of the same model shares them.

        Raises:
            WeightsError: the config is of another model, whose layers the weights do not fit.
        """
        model = self.model
        if config.model != self.config.model:
            model = build_detector(config.model, self.class_names, pretrained=False)
            load_into(model, self.model.state_dict())
        return Detector(model, class_names=self.class_names, config=config, device=self.device)

    @torch.inference_mode()
    def predict(
        self, images: Sequence[np.ndarray], proposals: Sequence[Tensor] | None = None
    ) -> list[Detections]:
        """Detections of each picture, best first, in its own pixels, on the CPU.

        Pictures of one size pass through the model together; those of another size apart, because
        padding reaches the features, and nobody's detections may depend on the neighbours.

        images: uint8 RGB arrays [H, W, 3] of any sizes. proposals: [P, 4] of each, in its own
        pixels, best first: for a detector without an RPN, which others do not look at.

        Raises:
            ValueError: one of them is anything else.
            ConfigError: the detector needs proposals, and there are none.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            check_picture(image)
            alike.setdefault(image.shape, []).append(place)
        found: dict[int, Detections] = {}
        for places in alike.values():
            chosen = None if proposals is None else [proposals[place] for place in places]
            together = self.tester(self.pyramid([images[place] for place in places], chosen))
            found.update(zip(places, together, strict=True))
        return [found[place].to("cpu") for place in range(len(images))]

    def batch(
        self, images: Sequence[np.ndarray], proposals: Sequence[Tensor] | None = None
    ) -> ImageBatch:
        """The pictures at `data.test_short_side`, padded to one size, on the detector's device."""
        data = self.config.data
        return self._batch(_samples(images, proposals), (data.test_short_side, data.max_long_side))

    def pyramid(
        self, images: Sequence[np.ndarray], proposals: Sequence[Tensor] | None = None
    ) -> Pyramid:
        """The pictures at every size that the config tests at."""
        samples = _samples(images, proposals)
        return Pyramid(tuple(self._batch(samples, size) for size in test_sizes(self.config)))

    def _batch(self, samples: Sequence[Sample], size: tuple[int, int]) -> ImageBatch:
        short_side, longest = size
        batch, _ = collate(
            [resize(one, short_side=short_side, max_long_side=longest) for one in samples]
        )
        return batch.to(self.device)


def _samples(images: Sequence[np.ndarray], proposals: Sequence[Tensor] | None) -> list[Sample]:
    """Pictures without any truth, with their proposals where there are some."""
    nothing = Target(
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        difficult=torch.zeros(0, dtype=torch.bool),
    )
    given = proposals if proposals is not None else [None] * len(images)
    return [
        Sample(image, nothing, id=str(number), path=Path(str(number)), proposals=boxes)
        for number, (image, boxes) in enumerate(zip(images, given, strict=True))
    ]
