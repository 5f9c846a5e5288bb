"""Runs a detector over a data set and hands what it finds to an evaluator."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from rfcn.evaluation.result import Result
from rfcn.structures import Detections, ImageBatch, Pyramid


class Evaluator(Protocol):
    """Collects detections, then turns them into a result of its own kind."""

    def reset(self) -> None:
        """Forgets all detections."""

    def update(self, ids: Sequence[str], detections: Sequence[Detections]) -> None:
        """Adds the detections of some pictures, named by their ids."""

    def compute(self) -> Result:
        """What they are worth."""


def evaluate(
    model: Callable[[Any], list[Detections]],
    loader: Iterable[ImageBatch] | Iterable[Pyramid],
    evaluator: Evaluator,
    *,
    device: torch.device | str,
    progress: bool = True,
    after_batch: Callable[[], None] | None = None,
) -> None:
    """Detects on every batch of `loader` and updates `evaluator`, which is reset first.

    `model` is any callable that takes what `loader` gives, on `device`; a module is put in
    evaluation mode and afterwards back into the mode it was in. The progress bar appears only on a
    terminal.
    `after_batch` is called after each batch; what it raises ends the evaluation.
    """
    evaluator.reset()
    with _evaluation_mode(model), torch.inference_mode():
        for batch in _with_progress(loader, progress):
            evaluator.update(batch.ids, model(batch.to(device)))
            if after_batch is not None:
                after_batch()


def _with_progress(loader: Iterable[Any], progress: bool) -> Iterable[Any]:
    from tqdm import tqdm

    # `disable=None` is tqdm's word for "unless stderr is a terminal".
    return tqdm(
        loader, desc="evaluating", unit="batch", leave=False, disable=None if progress else True
    )


@contextmanager
def _evaluation_mode(model: object) -> Iterator[None]:
    if not isinstance(model, nn.Module):
        yield
        return
    # One by one: a detector may hold frozen parts that are in evaluation mode while it trains.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
