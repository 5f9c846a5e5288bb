"""All objects of a data set in flat arrays, counted and compared."""

from dataclasses import dataclass

import numpy as np

from rfcn.datasets.sample import Dataset

SAME = 0.5
"""Two boxes are one and the same when no edge differs by more, in pixels."""


@dataclass(frozen=True)
class Objects:
    """The objects of P pictures, one row each, in the order of the pictures."""

    picture: np.ndarray
    """[N] int64, the number of its picture."""
    boxes: np.ndarray
    """[N, 4] float32, half-open, in pixels of the picture."""
    labels: np.ndarray
    """[N] int64, 1..C."""
    difficult: np.ndarray
    """[N] bool."""
    sizes: np.ndarray
    """[P, 2] int64, (height, width) of each picture."""

    def __len__(self) -> int:
        return len(self.picture)


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs."""

    boxes: int
    """Without the difficult ones."""
    difficult: int
    pictures: int
    """Pictures with at least one box of it, difficult or not."""


def gather(dataset: Dataset) -> Objects:
    """The objects of all pictures of a data set; nothing is decoded."""
    boxes, labels, difficult, counts = [], [], [], []
    for index in range(len(dataset)):
        target = dataset.target(index)
        counts.append(len(target.labels))
        if counts[-1]:
            boxes.append(target.boxes.numpy())
            labels.append(target.labels.numpy())
            difficult.append(target.difficult.numpy())
    return Objects(
        picture=np.repeat(np.arange(len(counts)), counts),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        labels=np.concatenate([np.zeros(0, np.int64), *labels]),
        difficult=np.concatenate([np.zeros(0, bool), *difficult]),
        sizes=np.array(dataset.sizes, dtype=np.int64).reshape(-1, 2),
    )


def class_counts(objects: Objects, classes: int) -> list[ClassCount]:
    """The counts of labels 1..classes, in this order."""
    counts = []
    for label in range(1, classes + 1):
        own = objects.labels == label
        counts.append(
            ClassCount(
                boxes=int((own & ~objects.difficult).sum()),
                difficult=int((own & objects.difficult).sum()),
                pictures=len(np.unique(objects.picture[own])),
            )
        )
    return counts


def boxes_a_picture(objects: Objects, *, difficult: bool = True) -> np.ndarray:
    """[P] int64: how many boxes each picture has, with or without the difficult ones."""
    own = objects.picture if difficult else objects.picture[~objects.difficult]
    return np.bincount(own, minlength=len(objects.sizes))


def repeated_boxes(objects: Objects) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of rows that are the same box of the same picture (row K18 of the
    table of faults), whatever their classes; each row is named once as j."""
    found = []
    starts = np.flatnonzero(np.diff(objects.picture, prepend=-1))
    for rows in np.split(np.arange(len(objects)), starts[1:]) if len(objects) else []:
        order = rows[np.argsort(objects.boxes[rows, 0], kind="stable")]
        for step in range(1, len(order)):
            first, second = order[:-step], order[step:]
            # Sorted by their left edges, rows further apart than these are no nearer to each other.
            gap = objects.boxes[second, 0] - objects.boxes[first, 0]
            if not (gap <= SAME).any():
                break
            apart = np.abs(objects.boxes[second] - objects.boxes[first]).max(axis=1)
            same = (apart <= SAME) & (objects.difficult[first] == objects.difficult[second])
            found += [
                (int(min(i, j)), int(max(i, j)))
                for i, j in zip(first[same], second[same], strict=True)
            ]
    once = {j: i for i, j in sorted(found, reverse=True)}
    return sorted((i, j) for j, i in once.items())
