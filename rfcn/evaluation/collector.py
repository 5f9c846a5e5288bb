"""What evaluators of any metric share: detections, gathered picture by picture and checked."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from rfcn.errors import DataError
from rfcn.evaluation.average_precision import ClassDetections, Ints
from rfcn.structures import Detections


class Collector:
    """Detections of known pictures, each given once, in any order."""

    def __init__(self, ids: Iterable[str], class_names: Sequence[str]) -> None:
        """ids: the pictures of the ground truth. Ties of score are broken by their order, hence
        nothing depends on the order of the updates."""
        self._class_names = tuple(class_names)
        self._number = {name: number for number, name in enumerate(ids)}
        self._detections: dict[str, Detections] = {}

    @property
    def detections(self) -> Mapping[str, Detections]:
        """What was collected so far, by picture, on the CPU."""
        return self._detections

    def reset(self) -> None:
        """Forgets all detections."""
        self._detections.clear()

    def update(self, ids: Sequence[str], detections: Sequence[Detections]) -> None:
        """Adds the detections of some pictures, which keep the evaluator's memory, not the GPU's.

        Raises DataError for an unknown picture, a picture given twice, a label outside 1..C, a
        score or a box that is not finite, and a box with a negative side.
        """
        if len(ids) != len(detections):
            raise ValueError(f"{len(ids)} pictures but detections of {len(detections)}")
        for name, found in zip(ids, detections, strict=True):
            if name not in self._number:
                raise DataError(
                    f"picture {name!r} is not in the ground truth, which holds "
                    f"{len(self._number)} pictures{_example(self._number)}: detections and ground "
                    "truth must be of the same data set and split."
                )
            if name in self._detections:
                raise DataError(f"picture {name!r} came twice: each may be scored only once.")
            found = found.to("cpu")
            where = f"the detections of picture {name!r}"
            check_boxes(found.boxes, found.labels, len(self._class_names), where)
            if not bool(found.scores.isfinite().all()):
                raise DataError(f"a score in {where} is NaN or infinite: nothing was scored.")
            self._detections[name] = found

    def collected(self) -> tuple[ClassDetections, Ints]:
        """The detections of all classes, in the order of the pictures, and their labels [D]."""
        names = [name for name in self._number if name in self._detections]
        found = [self._detections[name] for name in names]
        numbers = np.array([self._number[name] for name in names], dtype=np.int64)
        detections = ClassDetections(
            boxes=stack_boxes([one.boxes for one in found]),
            scores=stack([one.scores for one in found]).astype(np.float64),
            pictures=numbers[numbers_of([len(one) for one in found])],
        )
        return detections, stack([one.labels for one in found])


def check_boxes(boxes: torch.Tensor, labels: torch.Tensor, classes: int, where: str) -> None:
    """Raises DataError for a box that is not finite or has a negative side, and a label outside
    1..C. boxes: [N, 4] corners; labels: [N]; where: whose they are, for the message."""
    if not bool(boxes.isfinite().all()):
        raise DataError(f"a box in {where} is NaN or infinite: nothing was scored.")
    reversed_ = (boxes[:, 2:] < boxes[:, :2]).any(dim=1)
    if bool(reversed_.any()):
        box = boxes[reversed_][0].tolist()
        raise DataError(
            f"a box in {where} has a negative side, {box}: boxes are (x1, y1, x2, y2), not "
            "(x, y, width, height) or a centre and two sides."
        )
    unknown = (labels < 1) | (labels > classes)
    if bool(unknown.any()):
        raise DataError(
            f"label {int(labels[unknown][0])} in {where} is unknown: with {classes} classes the "
            f"labels are 1..{classes} (0 is background)."
        )


def _example(names: Mapping[str, int]) -> str:
    return f" (such as {next(iter(names))!r})" if names else ""


def stack(columns: Sequence[torch.Tensor]) -> np.ndarray:
    """Tensors [N_i] in one array [N]; of no tensors an empty one."""
    return torch.cat([*columns, torch.zeros(0, dtype=torch.int64)]).cpu().numpy()


def stack_boxes(boxes: Sequence[torch.Tensor]) -> np.ndarray:
    """Tensors [N_i, 4] in one array [N, 4] float64."""
    stacked = torch.cat([one.reshape(-1, 4) for one in boxes]) if boxes else torch.zeros(0, 4)
    return stacked.cpu().numpy().astype(np.float64)


def numbers_of(lengths: Sequence[int]) -> np.ndarray:
    """0 repeated lengths[0] times, 1 repeated lengths[1] times, ..."""
    return np.repeat(np.arange(len(lengths)), np.array(lengths, dtype=np.int64))
