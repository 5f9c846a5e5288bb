"""Proposals of another program beside the pictures of any data set (Fast R-CNN, section 2.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfcn.boxes import rescale
from rfcn.datasets.proposal_files import Corners, Pixels, read_proposals, to_half_open
from rfcn.datasets.sample import Dataset, Sample
from rfcn.errors import DataError
from rfcn.structures import Target

SLACK = 1.5
"""Pixels by which a box may leave its picture before the file is taken for one of others."""
_SHOWN = 5
"""Examples a message names before it goes on counting."""


class WithProposals:
    """A data set whose every sample brings its proposals along.

    Args:
        dataset: the pictures. boxes: the proposals of each, [P, 4] half-open, best first.
        notes: what is to be said of them, beside what the data set says.
    """

    def __init__(
        self, dataset: Dataset, boxes: Sequence[np.ndarray], notes: Sequence[str] = ()
    ) -> None:
        self.dataset = dataset
        self.class_names = dataset.class_names
        self.ids = dataset.ids
        self.sizes = dataset.sizes
        self.notes = [*dataset.notes, *notes]
        self._starts = np.concatenate([[0], np.cumsum([len(one) for one in boxes])])
        self._boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Picture number `index` with its objects and its proposals."""
        return replace(self.dataset[index], proposals=self.proposals(index))

    def reduced(self, index: int, at_least: tuple[int, int]) -> Sample:
        """The same of a picture that may come smaller, proposals and all."""
        sample, proposals = self.dataset.reduced(index, at_least), self.proposals(index)
        original = sample.original_size or sample.size
        return replace(sample, proposals=rescale(proposals, original, sample.size))

    def target(self, index: int) -> Target:
        """The truth of picture number `index`."""
        return self.dataset.target(index)

    def proposals(self, index: int) -> Tensor:
        """The proposals of picture number `index`, [P, 4] float32, best first."""
        rows = slice(self._starts[index], self._starts[index + 1])
        return torch.from_numpy(self._boxes[rows].copy())


def attach_proposals(
    dataset: Dataset, files: Sequence[Path], *, corners: Corners, pixels: Pixels, most: int
) -> WithProposals:
    """Read files of proposals and lay the best of each picture beside it.

    Args:
        files: together they name every picture, as the data set does or without its folder.
        corners, pixels: see `to_half_open`. most: proposals kept a picture: those of the highest
            scores, or the first where there are no scores.

    Raises:
        DataError: a file is missing or broken, lacks a picture, or its boxes do not lie on the
            pictures.
    """
    known: dict[str, np.ndarray] = {}
    for path in files:
        known.update(read_proposals(path))
    where = ", ".join(str(path) for path in files)
    boxes, empty = [], 0
    outside: list[str] = []
    for name, size, raw in zip(
        dataset.ids, dataset.sizes, _in_order(dataset.ids, known, where), strict=True
    ):
        converted = to_half_open(_best(raw, most), corners, pixels)
        limits = np.array([size[1], size[0]] * 2, np.float32)
        if ((converted < -SLACK) | (converted > limits + SLACK)).any():
            outside.append(name)
        cut = converted.clip(0, limits)
        solid = (cut[:, 2:] > cut[:, :2]).all(axis=1)
        empty += int((~solid).sum())
        boxes.append(cut[solid])
    if outside:
        raise DataError(
            f"data.proposals: boxes leave their picture in {len(outside)} of {len(dataset)} "
            f"pictures ({_some(outside)}). Check data.proposals.corners ({corners}) and pixels "
            f"({pixels}), and whether {where} was made for these pictures."
        )
    return WithProposals(dataset, boxes, _notes(boxes, empty, where))


def _in_order(ids: Sequence[str], known: Mapping[str, np.ndarray], where: str) -> list[np.ndarray]:
    """The boxes of each picture."""
    names = {name: name if name in known else Path(name).name for name in ids}
    missing = [name for name, short in names.items() if short not in known]
    if missing:
        raise DataError(
            f"data.proposals: {where} lacks {len(missing)} of {len(ids)} pictures of the data set: "
            f"{_some(missing)}. Name every file that belongs to it, or make the missing ones with "
            "rfcn make-proposals."
        )
    return [known[names[name]] for name in ids]


def _best(boxes: np.ndarray, most: int) -> np.ndarray:
    """The boxes [P, 4] of highest score, or the first."""
    if boxes.shape[1] == 5:
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    return boxes[:most, :4]


def _notes(boxes: Sequence[np.ndarray], empty: int, where: str) -> list[str]:
    """Sentences on what was read."""
    counts = [len(one) for one in boxes]
    notes = [f"Proposals from {where}: {np.mean(counts or [0]):.0f} a picture."]
    if empty:
        notes.append(f"Proposals without area were dropped: {empty}.")
    if 0 in counts:
        notes.append(f"Pictures without any proposal: {counts.count(0)}.")
    return notes


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
