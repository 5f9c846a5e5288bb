"""A step that failed, told by the run it belongs to, and taken once more from its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rfcn.build import build_detector, find_device
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset
from rfcn.engine.bundle import Batch, Bundle, RunFacts, read_bundle, restore_torch_rng
from rfcn.engine.precision import Precision
from rfcn.engine.step import Found, Manner, find_gradients
from rfcn.engine.tracing import Trace, lost_gradients, lost_weights, trace
from rfcn.engine.weights import load_into
from rfcn.running.machine import prepare
from rfcn.stages import Course, plan_stages, stage_of
from rfcn.structures import Target
from rfcn.visualization.files import write_image
from rfcn.visualization.montage import draw_training_batch


def facts_of(config: Config, dataset: Dataset) -> RunFacts:
    """What the bundles of a run say of it, and how their pictures are drawn."""

    def file_of(name: str) -> Path:
        return dataset[dataset.ids.index(name)].path

    def draw(path: Path, pieces: Sequence[Batch]) -> None:
        for number, (batch, targets) in enumerate(pieces, start=1):
            drawable = [_without_lost_boxes(each.to("cpu")) for each in targets]
            sheet = draw_training_batch(batch.to("cpu"), drawable, dataset.class_names)
            place = path if number == 1 else path.with_stem(f"{path.stem}_{number}")
            write_image(place, sheet)

    return RunFacts(dataset.class_names, config.model_dump(mode="json"), draw, file_of)


def _without_lost_boxes(target: Target) -> Target:
    """Boxes with a NaN in them cannot be drawn; `failure.json` has them."""
    kept = target.boxes.isfinite().all(1)
    return replace(
        target,
        boxes=target.boxes[kept],
        labels=target.labels[kept],
        difficult=target.difficult[kept],
    )


@dataclass(frozen=True)
class Replay:
    """What a step came to when it was taken again."""

    bundle: Bundle
    trace: Trace
    found: Found | None
    """Losses and norm; None where the step ended in an error, which the trace has."""
    lost_weights: Sequence[str]
    """Parameters that held NaN or infinity before the step."""
    lost_gradients: Sequence[str]
    """Parameters whose gradient did after it."""

    @property
    def is_good(self) -> bool:
        """Whether the step could be taken now."""
        return self.found is not None and self.found.is_good


def replay(folder: Path, *, overrides: Sequence[str] = ()) -> Replay:
    """Take the step of a bundle again, in this process by itself, and look at every module.

    Pictures, boxes, weights and random state are those of the bundle, so that on the same device
    the numbers are the same. Of several processes each had its part of the pictures, and their
    bundles hold those.

    Args:
        overrides: `key=value` settings laid on the config of the run.

    Raises:
        WeightsError: there is no readable bundle, or its weights do not fit the config.
        ConfigError: an override is wrong. MachineError: there is no such device.
    """
    bundle = read_bundle(folder)
    config = config_from_mapping(bundle.config, overrides, source=str(folder))
    device = find_device(config.runtime.device)
    detector = build_detector(config.model, bundle.class_names, pretrained=False)
    prepare(detector, config.runtime, device)
    # what an earlier stage kept is part of the weights of the bundle
    course = Course(detector, lambda name: detector.state_dict())
    course.enter(stage_of(plan_stages(config.train), bundle.failed.step))
    model = course.trainer
    load_into(model, bundle.failed.weights)
    model.train()
    poisoned = lost_weights(model)
    precision = Precision(config.train.precision, device.type)
    if bundle.failed.extra["precision"]["name"] == precision.name:
        precision.load_state_dict(bundle.failed.extra["precision"])
    manner = Manner(config.train.max_gradient_norm, len(bundle.failed.pieces), precision=precision)
    found: list[Found] = []

    def step() -> None:
        found.append(find_gradients(model, course.optimizer, bundle.failed.pieces, manner))

    restore_torch_rng(bundle.failed.rng, device)
    seen = trace(model, step)
    return Replay(bundle, seen, found[0] if found else None, poisoned, lost_gradients(model))
