"""A run as a row of stages: one where RPN and head learn together, four or five where in turn."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rfcn.build import AnyDetector, build_optimizer, build_schedule
from rfcn.config import schema
from rfcn.engine.schedule import Schedule, describe_scaling, one_after_another, scaled
from rfcn.engine.weights import load_into
from rfcn.models.alternating import FrozenRPN, HeadTraining, Part, RPNTraining
from rfcn.models.detector import TwoStageDetector

INITIAL = "initial"
"""The name under which a run of several stages keeps the weights it begins with."""


@dataclass(frozen=True)
class Kind:
    """What a stage does."""

    learns: frozenset[Part]
    anew: bool = False
    """It begins with the weights that the run began with, not with those of the stage before."""


JOINT = Kind(frozenset({"shared", "rpn", "head"}), anew=True)
RPN = Kind(frozenset({"shared", "rpn"}), anew=True)
HEAD = Kind(frozenset({"shared", "head"}), anew=True)
RPN_ON_SHARED = Kind(frozenset({"rpn"}))
HEAD_ON_SHARED = Kind(frozenset({"head"}))

ALTERNATING: dict[int, tuple[Kind, ...]] = {
    4: (RPN, HEAD, RPN_ON_SHARED, HEAD_ON_SHARED),
    5: (RPN, HEAD, RPN_ON_SHARED, HEAD, RPN_ON_SHARED),
}
"""A head learns on the proposals of the stage before. Four stages: Faster R-CNN, section 3.2, as
Deformable-ConvNets has it. Five: py-R-FCN, whose second head starts anew with better proposals;
then the RPN learns to read the convolutions that this left. An RPN on shared convolutions finds its
own layers as the run began with them, as in both."""


@dataclass(frozen=True)
class Stage:
    """A kind of stage in its place in a run."""

    number: int
    """From 1."""
    kind: Kind
    settings: schema.Train
    """What holds in it."""
    schedule: Schedule
    """For the run's batch size, in steps of the run."""

    @property
    def weights(self) -> str:
        """The name under which its last weights are kept."""
        return f"stage_{self.number}"

    def describe(self, count: int) -> list[str]:
        """What a run says when it begins, a line each. count: the stages of the run."""
        kind, schedule = self.kind, self.schedule
        lines = []
        if count > 1:
            steps = f"steps {schedule.begins_after + 1} to {schedule.iterations}"
            who = "the RPN" if "rpn" in kind.learns else "the head"
            what = who if kind.anew else f"{who}'s own layers"
            start = ", from the weights the run began with" if kind.anew else ""
            where = f", on proposals of stage {self.number - 1}" if "head" in kind.learns else ""
            lines.append(f"stage {self.number} of {count}, {steps}: {what}{start}{where}")
        batches = self.settings.schedule_batch_size, self.settings.batch_size
        scaling = describe_scaling(build_schedule(self.settings), *batches)
        return lines if scaling is None else [*lines, scaling]


def plan_stages(config: schema.Train) -> tuple[Stage, ...]:
    """The stages of a run, in order."""
    scheme = config.scheme
    kinds = ALTERNATING[scheme.stages] if isinstance(scheme, schema.Alternating) else (JOINT,)
    settings = config.stages()
    schedules = one_after_another(
        scaled(build_schedule(one), one.schedule_batch_size, one.batch_size) for one in settings
    )
    parts = zip(kinds, settings, schedules, strict=True)
    return tuple(Stage(number, *each) for number, each in enumerate(parts, start=1))


def stage_of(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that takes a step, from 1; the first for step 0."""
    return next(stage for stage in stages if step <= stage.schedule.iterations)


class Course:
    """A detector on its way through the stages: what the training loop is given in each.

    Args:
        detector: untouched so far: what requires a gradient is what may be trained at all.
        kept: the weights that the run keeps under a name, `INITIAL` or `Stage.weights`.
    """

    stage: Stage
    trainer: nn.Module
    """(batch, targets) -> losses."""
    optimizer: torch.optim.SGD
    """Over what learns, and nothing else."""

    def __init__(self, detector: AnyDetector, kept: Callable[[str], Mapping[str, Tensor]]) -> None:
        self._detector = detector
        self._kept = kept
        self._trainable = [one for one in detector.parameters() if one.requires_grad]

    def enter(self, stage: Stage) -> None:
        """Make ready for a stage, the weights being what they are."""
        self.stage = stage
        self.trainer = self._trainer(stage)
        self.optimizer = build_optimizer(stage.settings, self._detector)

    def go_on_to(self, stage: Stage) -> None:
        """Make ready for a stage after the one before it is complete."""
        if stage.kind.anew:
            load_into(self._detector, self._kept(INITIAL))
        self.enter(stage)

    def _trainer(self, stage: Stage) -> nn.Module:
        detector, kind = self._detector, stage.kind
        if kind == JOINT:
            return detector
        assert isinstance(detector, TwoStageDetector), "the schema alternates no other"
        if "rpn" in kind.learns:
            return RPNTraining(detector, kind.learns, self._trainable)
        earlier = None
        if kind.anew:  # the RPN that proposes belongs to convolutions that are no longer here
            earlier = copy.deepcopy(detector)
            load_into(earlier, self._kept(f"stage_{stage.number - 1}"))
        propose = None if earlier is None else FrozenRPN(earlier)
        return HeadTraining(detector, kind.learns, self._trainable, propose)
