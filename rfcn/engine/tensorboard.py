"""Scalars and pictures for TensorBoard, which may be missing or fail without harm to the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class TensorBoard:
    """A writer that warns once and falls silent when it cannot write."""

    def __init__(self, folder: Path, *, start_step: int, warn: Callable[[str], object]) -> None:
        """Begin an event file in `folder`.

        Args:
            start_step: events of later steps, left by a run that is resumed, are hidden.
            warn: is given the one line to say when writing fails.
        """
        self._warn = warn
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=start_step + 1)
        except Exception as error:  # whatever it is, it must not cost a training run
            self._give_up(error)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers under their tags."""
        for tag, value in values.items():
            self._write("add_scalar", tag, value, step)

    def picture(self, tag: str, image: np.ndarray, step: int) -> None:
        """Write a uint8 RGB picture [H, W, 3]."""
        self._write("add_image", tag, image, step, dataformats="HWC")

    def text(self, tag: str, text: str, step: int) -> None:
        """Write text, shown as it is (indented: TensorBoard reads Markdown)."""
        self._write("add_text", tag, "".join(f"    {line}\n" for line in text.splitlines()), step)

    def close(self) -> None:
        """Write what is pending."""
        self._write("close")
        self._writer = None

    def _write(self, method: str, *values: object, **options: object) -> None:
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*values, **options)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        self._warn(
            f"TensorBoard is off ({type(error).__name__}: {error}). The training goes on; "
            "metrics.jsonl holds the same numbers. `pip install tensorboard` if it is missing."
        )
