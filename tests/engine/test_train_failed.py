"""A training that fails: what it says and what it leaves; its run is the toy of test_train.py."""

import random
from dataclasses import replace

import pytest
import torch

from rfcn.engine.bundle import read_bundle, restore_torch_rng
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones
from rfcn.errors import MachineError, NumericalError
from tests.engine.conftest import toy_batch
from tests.engine.test_train import Run, seed_everything


@pytest.fixture
def run(tmp_path, toy_detector):
    seed_everything(0)
    return Run(tmp_path / "run", toy_detector)


def bundle_of(run, step):
    return read_bundle(run.folder.parent / "failure" / f"step_{step:08d}")


# T1
def test_t1_a_loss_that_is_not_finite_stops_before_the_step(run, toy_loader):
    run.milestones = Milestones(run.save, 2)
    run.model.poison_at = 3
    words = r"step 3.*loss_cls nan.*step3_a, step3_b.*rfcn replay .*step_00000003"
    with pytest.raises(NumericalError, match=words):
        run.go(toy_loader())
    assert all(bool(p.isfinite().all()) for p in run.model.parameters())
    assert run.events == ["save 2"]
    bundle = bundle_of(run, 3)
    assert bundle.report["losses"]["loss_cls"] == "nan"
    assert len(bundle.report["losses_before"]) == 2
    assert [each["id"] for each in bundle.report["pictures"]] == ["step3_a", "step3_b"]
    assert bundle.failed.step == 3


# T1
def test_t1_the_bundle_holds_what_the_step_began_with(run, toy_loader, toy_detector):
    """A step that was healthy until its loss was spoilt gives the same numbers again."""
    seen = []
    run.model.register_forward_hook(lambda module, _, losses: seen.append(dict(losses)))
    run.model.poison_at = 3
    with pytest.raises(NumericalError):
        run.go(toy_loader())
    failed = bundle_of(run, 3).failed
    again = toy_detector()
    again.load_state_dict(failed.weights)
    restore_torch_rng(failed.rng, torch.device("cpu"))
    ((batch, targets),) = failed.pieces
    random.seed(0)
    drawn = again(batch, targets)["loss_box"]
    assert torch.equal(batch.tensor, toy_batch(3)[0].tensor)
    assert abs(drawn - seen[2]["loss_box"]) < 0.1, "but for what Python and NumPy drew"
    assert drawn.isfinite()


# T1
def test_t1_the_module_that_lost_the_numbers_is_named(run, toy_loader):
    run.model.head.register_forward_hook(
        lambda module, _, output: output * float("inf") if run.model.calls > 2 else None
    )
    with pytest.raises(NumericalError, match="first module to give such numbers: head"):
        run.go(toy_loader())
    first = bundle_of(run, 3).report["first_not_finite"]
    assert (first["output"]["module"], first["output"]["kind"]) == ("head", "Linear")
    assert [one["module"] for one in first["outputs_before"]] == ["stem", "norm", "head"]


# T1
def test_t1_a_poisoned_weight_is_named(run, toy_loader):
    with torch.no_grad():
        run.model.stem.bias[0] = float("nan")
    with pytest.raises(NumericalError, match=r"Likely cause: the weights were lost.*stem\.bias"):
        run.go(toy_loader())


# T1
@pytest.mark.parametrize("refused", [False, True])
def test_t1_a_bad_box_is_the_cause_even_where_an_operator_refuses_it(run, toy_loader, refused):
    bad = torch.tensor([[1.0, 1.0, float("nan"), 6.0]])
    fine = run.model.forward

    def forward(batch, targets):
        if refused and bool(targets[1].boxes.isnan().any()):
            raise RuntimeError("row 1 is (1, 1, nan, 6)")
        return fine(batch, targets)

    def batches():
        for step, (batch, (one, two)) in enumerate(toy_loader(), start=1):
            yield batch, [one, replace(two, boxes=bad) if step == 3 else two]

    run.model.forward = forward
    with pytest.raises(NumericalError, match=r"picture step3_b has the box \[1\.0, 1\.0, 'nan'"):
        run.go(batches())
    told = bundle_of(run, 3).report["first_not_finite"]["error"]
    assert told == ("RuntimeError: row 1 is (1, 1, nan, 6)" if refused else None)


# T2
def test_t2_a_gradient_that_is_not_finite_stops_too(run, toy_loader):
    run.model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        NumericalError, match=r"step 1: loss_rpn_cls 0\.\d.*gradient norm (inf|nan)"
    ):
        run.go(toy_loader(), manner=Manner(35.0))
    assert bundle_of(run, 1).report["gradients_not_finite"] == ["head.weight"]


def test_t3_a_rate_far_too_high_is_found(run, toy_loader):
    with pytest.raises(NumericalError, match=r"train\.lr"):
        run.go(toy_loader(), schedule=Schedule(1e6, 8))
    assert run.events == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_t12_out_of_memory_saves_the_step_before_and_names_the_knobs(run, toy_loader, error):
    fail_in_step(run, 3, error)
    words = (
        r"step 3 with pictures step3_a, step3_b.*\(2, 3, 8, 8\).*largest is step3_a with 8 x 8.*"
        r"most boxes are 1 .*train.accumulate.*train.batch_size.*Step 2 is saved"
    )
    with pytest.raises(MachineError, match=words):
        run.go(toy_loader())
    assert run.events == ["save 2"]


def test_t12_out_of_memory_at_the_first_step_promises_no_checkpoint(run, toy_loader):
    fail_in_step(run, 1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MachineError, match=r"train_proposals\.$"):
        run.go(toy_loader())
    assert run.events == []


def test_a_bug_in_the_model_stays_a_bug(run, toy_loader):
    fail_in_step(run, 3, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.go(toy_loader())
    assert run.events == []


def fail_in_step(run, step, error):
    forward = run.model.forward

    def failing(batch, targets):
        if batch.ids[0] == f"step{step}_a":
            raise error
        return forward(batch, targets)

    run.model.forward = failing
