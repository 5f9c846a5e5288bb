"""The plan of a run, and a detector's way through it. Whole runs: test_experiment_stages.py."""

import copy

import pytest
import torch

from rfcn.config.loader import config_from_mapping
from rfcn.models.alternating import HeadTraining, RPNTraining
from rfcn.stages import INITIAL, Course, plan_stages, stage_of

SCHEME = ("train.scheme.type=alternating", "train.iterations=3", "train.lr_steps=[]")
SMALL = (*SCHEME, "train.warmup_iterations=0", "train.lr=0.1")


def plan(*overrides: str):
    return plan_stages(config_from_mapping({}, overrides).train)


def test_joint_training_is_one_stage() -> None:
    [stage] = plan()
    assert stage.kind.learns == {"shared", "rpn", "head"}
    assert (stage.schedule.begins_after, stage.schedule.iterations) == (0, 30_000)
    assert stage.describe(1) == []


def test_the_published_stages() -> None:
    """Who learns, and whether from the first weights."""
    rpn, head = ({"shared", "rpn"}, True), ({"shared", "head"}, True)
    for count, wanted in (
        (4, [rpn, head, ({"rpn"}, False), ({"head"}, False)]),
        (5, [rpn, head, ({"rpn"}, False), head, ({"rpn"}, False)]),
    ):
        stages = plan(*SMALL, f"train.scheme.stages={count}")
        assert [(stage.kind.learns, stage.kind.anew) for stage in stages] == wanted
        assert [stage.number for stage in stages] == list(range(1, count + 1))


def test_steps_are_counted_through_and_scaled_for_the_batch() -> None:
    stages = plan(
        *SMALL,
        "train.scheme.iterations=[10, 20, 30, 40]",
        "train.scheme.lr_steps=[[5], [], [], [1, 2]]",
        *("train.schedule_batch_size=4", "train.batch_size=8"),
    )
    assert [stage.schedule.iterations for stage in stages] == [5, 15, 30, 50]
    assert [stage.schedule.begins_after for stage in stages] == [0, 5, 15, 30]
    assert [stage.schedule.lr for stage in stages] == [0.2] * 4
    assert [stage.schedule.lr_steps for stage in stages] == [(3,), (), (), (31,)]
    numbers = [stage_of(stages, step).number for step in (0, 1, 5, 6, 15, 16, 50)]
    assert numbers == [1, 1, 1, 2, 2, 3, 4]


def test_what_a_run_says_of_its_stages() -> None:
    stages = plan(*SMALL, "train.batch_size=4", "train.scheme.stages=4")
    [first, scaling], [second, _], [third, _], [fourth, _] = (one.describe(4) for one in stages)
    assert first == "stage 1 of 4, steps 1 to 6: the RPN, from the weights the run began with"
    assert second == (
        "stage 2 of 4, steps 7 to 12: the head, from the weights the run began with, on proposals "
        "of stage 1"
    )
    assert third == "stage 3 of 4, steps 13 to 18: the RPN's own layers"
    assert fourth == "stage 4 of 4, steps 19 to 24: the head's own layers, on proposals of stage 3"
    assert scaling.startswith("schedule scaled from 8 to 4 pictures a step: lr 0.1 -> 0.05")


@pytest.mark.parametrize("count", [4, 5])
def test_the_way_of_a_detector(tiny_detector, count: int) -> None:
    """Each stage begins with the weights it should, and its optimizer holds what learns only."""
    detector = tiny_detector()
    first = copy.deepcopy(detector.state_dict())
    kept = {INITIAL: first}
    course = Course(detector, kept.__getitem__)
    stages = plan(*SMALL, f"train.scheme.stages={count}")
    for stage in stages:
        before = copy.deepcopy(detector.state_dict())
        course.go_on_to(stage)
        begun = first if stage.kind.anew else before
        assert all(torch.equal(one, begun[name]) for name, one in detector.state_dict().items())
        kind = RPNTraining if "rpn" in stage.kind.learns else HeadTraining
        assert isinstance(course.trainer, kind)
        learning = {id(one) for one in detector.parameters() if one.requires_grad}
        held = {id(one) for group in course.optimizer.param_groups for one in group["params"]}
        assert learning == held
        if isinstance(course.trainer, HeadTraining):
            check_source(course.trainer, detector, kept, stage)
        with torch.no_grad():
            for one in detector.parameters():
                one.add_(1)
        kept[stage.weights] = copy.deepcopy(detector.state_dict())


def check_source(trainer: HeadTraining, detector, kept, stage) -> None:
    """The proposals are those of the stage before."""
    source = detector if trainer.earlier is None else trainer.earlier.detector
    wanted = kept[f"stage_{stage.number - 1}"]
    for name, one in source.state_dict().items():
        assert torch.equal(one, wanted[name]), name
    assert (trainer.earlier is None) == (not stage.kind.anew)
