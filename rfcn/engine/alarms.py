"""Signs of a training that goes on without learning: each is said once, with what to look at.

Nothing here waits for a device: alarms look at the means that a line of the log has read anyway.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

PATIENCE = 200
"""Steps in a row that a sign must last."""

SAME = 1e-5
"""Losses that differ by less, relatively, differ by rounding."""

Means = Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """A sign, and what it means."""

    name: str
    sign: Callable[[Means], bool]
    """Whether it shows in the means over the steps since the last line; values that cannot be
    negative are 0 in every one of them where their mean is."""
    words: str
    """`{steps}` is how long it has lasted."""


def _is_zero(tag: str) -> Callable[[Means], bool]:
    return lambda means: means.get(tag) == 0


def _one_answer(means: Means) -> bool:
    return means.get("train/bg_loss_spread", 1) < SAME


def _ohem_keeps_background(means: Means) -> bool:
    return means.get("train/fg_rois_per_image", 0) > 0 == means.get("train/fg_rois_kept")


ALARMS = (
    Alarm(
        "no foreground RoI",
        _is_zero("train/fg_rois_per_image"),
        "no RoI has been foreground for {steps} steps: the head learns nothing but background. "
        "Either no box of the data lies on its picture (rfcn check-data, pictures/targets.jpg), or "
        "no RoI comes near one: look at model.roi_loss.foreground_iou and, where proposals come "
        "from files, at data.proposals (corners, pixels).",
    ),
    Alarm(
        "OHEM keeps background",
        _ohem_keeps_background,
        "OHEM has kept no foreground RoI for {steps} steps though there were some: loss_box is 0 "
        "and the hardest examples teach only background. Raise model.roi_loss.keep or "
        "model.box_loss_weight, lower model.proposer.train_proposals, and check that the labels "
        "belong to their boxes.",
    ),
    Alarm(
        "OHEM cannot choose",
        _one_answer,
        "all background RoIs of a picture have had one and the same loss for {steps} steps, so "
        "none is harder than another for OHEM: the head gives the same answer everywhere. It has "
        "died or never lived: lower train.lr, warm up longer (train.warmup_iterations), and look "
        "at what the backbone started from (model.backbone, model.pixel_mean, model.pixel_std).",
    ),
    Alarm(
        "loss_box",
        _is_zero("train/loss_box"),
        "loss_box has been exactly 0 for {steps} steps: nothing teaches the head where boxes are. "
        "Check that the boxes of the data match the pictures (pictures/targets.jpg), "
        "model.roi_loss.foreground_iou and model.box_loss_weight.",
    ),
    Alarm(
        "loss_rpn_box",
        _is_zero("train/loss_rpn_box"),
        "loss_rpn_box has been exactly 0 for {steps} steps: no anchor belongs to an object, or the "
        "boxes are off the pictures. Compare the sizes of the objects with "
        "model.proposer.anchors (rfcn check-data does), and look at pictures/targets.jpg.",
    ),
    Alarm(
        "loss_cls",
        _is_zero("train/loss_cls"),
        "loss_cls has been exactly 0 for {steps} steps: there is nothing left to tell apart. Check "
        "the classes (data.classes) and that train.lr has not driven the scores to extremes.",
    ),
    Alarm(
        "loss_rpn_cls",
        _is_zero("train/loss_rpn_cls"),
        "loss_rpn_cls has been exactly 0 for {steps} steps: no anchor is looked at, or the scores "
        "were driven to extremes. Look at model.proposer.anchors and train.lr.",
    ),
)


class Alarms:
    """Counts how long each sign has lasted.

    Args:
        warn: is given the words of each alarm, once in a run.
        patience: steps in a row before that.
    """

    def __init__(self, warn: Callable[[str], object], *, patience: int = PATIENCE) -> None:
        self._warn = warn
        self._patience = patience
        self._lasted: dict[str, int] = {}
        self._said: set[str] = set()

    def look(self, means: Means, steps: int) -> None:
        """Look at the means over the last `steps` steps, by tag, as `RunLog` writes them."""
        for alarm in ALARMS:
            lasted = self._lasted.get(alarm.name, 0) + steps if alarm.sign(means) else 0
            self._lasted[alarm.name] = lasted
            if lasted >= self._patience and alarm.name not in self._said:
                self._said.add(alarm.name)
                self._warn(alarm.words.format(steps=lasted))
