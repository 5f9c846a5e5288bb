"""A trained detector behind one call: pictures in, detections out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from rfcn.build import AnyDetector, build_detector, build_tester, file_rules, test_sizes
from rfcn.config.loader import config_from_mapping, override_config, stored_config
from rfcn.config.schema import Config
from rfcn.datasets.loader import collate
from rfcn.datasets.sample import Sample
from rfcn.datasets.transforms import resize
from rfcn.engine.weights import load_into, load_weights, save_weights
from rfcn.inference.augmentation import overrides_of
from rfcn.inference.batches import alike_together
from rfcn.inference.hub import fetch_weights, send_folder
from rfcn.inference.model_card import write_model_card
from rfcn.inference.pictures import PictureSource, read_picture, size_of
from rfcn.inference.results import SURE, NamedDetections, labels_of
from rfcn.inference.torchvision_contract import TorchvisionDetector
from rfcn.models.folding import folded
from rfcn.structures import Detections, ImageBatch, Pyramid, Target

BATCH_SIZE = 8
"""Pictures of one size that pass through the model together, at most."""


class Detector:
    """A detector with its class names and its preprocessing, ready to use.

    Args:
        model: moved to `device` and put into evaluation mode.
        class_names: label 1 is the first. config: how pictures are resized. metrics: what its
        weights reached when they were saved, for its model card. fast: predict with a second model
        whose batch norms are folded into its convolutions, which gives the same up to rounding: the
        `predictor`, which is the model itself otherwise.
    """

    def __init__(
        self,
        model: AnyDetector,
        *,
        class_names: Sequence[str],
        config: Config,
        device: torch.device | str = "cpu",
        metrics: Mapping[str, Any] | None = None,
        fast: bool = False,
    ) -> None:
        self.model = model.to(device).eval()
        # as in training: fast, and the same figures to the last bit
        self.model.to(memory_format=torch.channels_last)
        self.fast = fast
        self.predictor = folded(self.model) if fast else self.model
        self.tester = build_tester(self.predictor, config.model).eval()
        self.class_names = tuple(class_names)
        self.config = config
        self.metrics = dict(metrics or {})

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        fast: bool = True,
    ) -> "Detector":
        """The detector of a weights folder (or of its `model.safetensors` alone), or one of the
        Hugging Face hub by its id, `OWNER/NAME`, at a `revision` (branch, tag or commit). `fast`:
        see `Detector`.

        Raises:
            WeightsError: the file is missing, broken, or not one of ours; or the hub does not give
                it. MachineError: it lies on the hub, and huggingface_hub is not installed.
        """
        folder = fetch_weights(path, revision=revision)
        state, metadata = load_weights(folder)
        config = config_from_mapping(metadata["config"], source=f"{path}: stored config")
        model = build_detector(config.model, metadata["classes"], pretrained=False)
        load_into(model, state)
        return cls(
            model,
            class_names=metadata["classes"],
            config=config,
            device=device,
            metrics=metadata.get("metrics"),
            fast=fast,
        )

    def save_pretrained(self, folder: str | Path, *, name: str | None = None) -> Path:
        """Write `model.safetensors`, `config.json` and a model card `README.md`, as the Hugging
        Face hub lays them out; -> the folder. name: what the card is headed with.

        Raises:
            NumericalError: a weight is not finite. MachineError: the folder cannot be written.
        """
        folder = Path(folder)
        facts = {
            "classes": list(self.class_names),
            "config": stored_config(self.config),
            "metrics": self.metrics,
        }
        save_weights(folder, self.model.state_dict(), facts)
        write_model_card(
            folder / "README.md",
            name=name or folder.resolve().name,
            class_names=self.class_names,
            config=self.config,
            metrics=self.metrics,
            parameters=sum(one.numel() for one in self.model.parameters()),
        )
        return folder

    def push_to_hub(self, repo_id: str, *, private: bool = True, message: str = "") -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; -> the address.

        The repository is made where there is none yet, for the owner alone unless `private` is
        False. Log in before with `hf auth login`.

        Raises:
            MachineError: huggingface_hub is not installed, or the hub refuses.
        """
        name = repo_id.rpartition("/")[2]
        return send_folder(
            lambda folder: self.save_pretrained(folder, name=name),
            repo_id,
            private=private,
            message=message or f"Weights of {name}",
        )

    def as_torchvision(self) -> TorchvisionDetector:
        """This detector as torchvision's are called: lists of float pictures in, lists of dicts
        out. It shares the weights; it is in evaluation mode."""
        return TorchvisionDetector(self.model, self.config, predict=self.predict).eval()

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
        return Detector(
            model,
            class_names=self.class_names,
            config=config,
            device=self.device,
            metrics=self.metrics,
            fast=self.fast,
        )

    def with_tta(self, *names: str) -> "Detector":
        """The same weights with test-time augmentation: "flip", "scales", "iterate", "soft-nms",
        "voting" (`rfcn.inference.augmentation.NAMES`).

        Raises:
            KeyError: there is no such name. ConfigError: the detector of this config cannot do it.
        """
        return self.with_config(override_config(self.config, overrides_of(names, self.config)))

    @overload
    def predict(
        self,
        images: PictureSource,
        proposals: Tensor | None = None,
        *,
        score: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> NamedDetections: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        proposals: Sequence[Tensor] | None = None,
        *,
        score: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[NamedDetections]: ...

    def predict(
        self,
        images: Any,
        proposals: Any = None,
        *,
        score: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> NamedDetections | list[NamedDetections]:
        """Detections of a picture, best first, in its own pixels, on the CPU; of a list of
        pictures, or of a stack with four axes, a list of them.

        Pictures of one size pass through the model together; those of another size apart, because
        padding reaches the features, and nobody's detections may depend on the neighbours.

        Args:
            images: path, Pillow picture, array [H, W, 3] or tensor [3, H, W]: see the table in
                docs/inference.md. proposals: [P, 4] of each, in its own pixels, best first: for a
                detector without an RPN, which others do not look at.
            score: the lowest score kept; by default what the config keeps, 0.001 and more.
            classes: names of the classes that are kept; by default all.

        Raises:
            ValueError: one of them is no picture; the message names dtype and shape.
            DataError: a file cannot be read.
            ConfigError: there is no such class; or the detector needs proposals, and has none.
        """
        if not _are_several(images):
            given = None if proposals is None else [proposals]
            (found,) = self.stream([images], given, score=score, classes=classes)
            return found
        return list(
            self.stream(images, proposals, score=score, classes=classes, batch_size=batch_size)
        )

    def stream(
        self,
        images: Iterable[PictureSource],
        proposals: Iterable[Tensor] | None = None,
        *,
        score: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[NamedDetections]:
        """As `predict` of a list, one after the other: pictures are read when their turn comes, so
        there may be more of them than fit into the memory."""
        labels = None if classes is None else labels_of(classes, self.class_names)
        rules = file_rules(self.config.data)

        def read() -> Iterator[_Waiting]:
            if proposals is None:
                for source in images:
                    yield _Waiting(source, read_picture(source, rules), None)
                return
            for source, boxes in zip(images, proposals, strict=True):
                yield _Waiting(source, read_picture(source, rules), boxes)

        def detect(group: list[_Waiting]) -> list[Detections]:
            boxes = [one.proposals for one in group if one.proposals is not None]
            return self._detect([one.image for one in group], boxes or None)

        pairs = alike_together(
            read(), detect, kind=lambda one: one.image.shape, batch_size=batch_size
        )
        for waiting, found in pairs:
            if score is not None:
                found = found.above(score)
            if labels is not None:
                found = found.rows(torch.isin(found.labels, torch.tensor(labels)))
            yield NamedDetections(
                boxes=found.boxes,
                scores=found.scores,
                labels=found.labels,
                rois=found.rois,
                class_names=self.class_names,
                size=size_of(waiting.image),
                source=waiting.source,
                rules=rules,
                shown_from=SURE if score is None else score,
            )

    @torch.inference_mode()
    def _detect(
        self, images: Sequence[np.ndarray], proposals: Sequence[Tensor] | None = None
    ) -> list[Detections]:
        """Detections of pictures of one size, uint8 RGB [H, W, 3], on the CPU."""
        return [found.to("cpu") for found in self.tester(self.pyramid(images, proposals))]

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


class _Waiting(NamedTuple):
    """A picture on its way to the model."""

    source: PictureSource
    image: np.ndarray
    proposals: Tensor | None


def _are_several(images: Any) -> bool:
    """Whether these are pictures, not a picture."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim == 4
    return isinstance(images, list | tuple)


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
