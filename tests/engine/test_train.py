import json
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rfcn.engine.checkpoint import capture, load_checkpoint, newest_good, restore, save_checkpoint
from rfcn.engine.logging import RunLog
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.schedule import Schedule
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.errors import DataError, MachineError, NumericalError

SCHEDULE = Schedule(0.05, 8, lr_steps=(6,), warmup_iterations=3)
SILENT = {"tensorboard": False, "console": False}


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Run:
    """A toy run in a folder: the objects a command would build, resumed where there is something
    to resume."""

    def __init__(self, folder, toy_detector, *, save_every=4, **log_options):
        folder.mkdir(exist_ok=True)
        self.folder = folder / "checkpoints"
        self.model = toy_detector()
        self.optimizer = build_sgd(
            self.model,
            lr=1.0,
            momentum=0.9,
            weight_decay=5e-4,
            bias_lr_factor=2.0,
            new_parameters={"head.bias"},
        )
        state = newest_good(self.folder, print)
        self.start_step = restore(state, self.model, self.optimizer)[0] if state else 0
        self.log = RunLog(
            folder, iterations=8, every=2, start_step=self.start_step, **SILENT, **log_options
        )
        self.events: list[str] = []
        self.milestones = Milestones(self.save, save_every)

    def save(self, step):
        self.events.append(f"save {step}")
        save_checkpoint(self.folder, capture(self.model, self.optimizer, step=step), step)

    def evaluate(self, step):
        self.events.append(f"evaluate {step}")
        self.model.eval()

    def go(self, loader, *, schedule=SCHEDULE, **options):
        with self.log:
            return train(
                self.model,
                loader,
                optimizer=self.optimizer,
                schedule=schedule,
                log=self.log,
                milestones=self.milestones,
                start_step=self.start_step,
                **options,
            )

    def state(self):
        return capture(self.model, self.optimizer, step=0)


@pytest.fixture
def run(tmp_path, toy_detector):
    seed_everything(0)
    return Run(tmp_path / "run", toy_detector)


def assert_same(one, two, path=""):
    """Bit for bit, through nested containers."""
    assert type(one) is type(two), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path
    elif isinstance(one, dict):
        assert list(one) == list(two), path
        for key in one:
            assert_same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for index, pair in enumerate(zip(one, two, strict=True)):
            assert_same(*pair, f"{path}.{index}")
    else:
        assert one == two, path


def metrics(folder):
    """metrics.jsonl without what a clock wrote."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "time/step", "time/data")
    return [{key: line[key] for key in line if key not in timed} for line in lines]


# ------------------------------------------------------------------------------------- the steps


def test_the_loop_is_sgd_written_out(run, toy_detector, toy_loader):
    reference = toy_detector()
    reference.load_state_dict(run.model.state_dict())
    buffers = {name: torch.zeros_like(p) for name, p in reference.named_parameters()}
    seed_everything(5)
    assert run.go(toy_loader()) is None
    seed_everything(5)
    for step, (batch, targets) in zip(range(1, 9), toy_loader(), strict=False):
        reference.zero_grad()
        sum(reference(batch, targets).values()).backward()
        with torch.no_grad():
            for name, parameter in reference.named_parameters():
                decay = 0.0 if name.startswith("norm") else 5e-4
                scale = 2.0 if name == "head.bias" else 1.0
                gradient = parameter.grad + decay * parameter
                buffers[name] = 0.9 * buffers[name] + gradient
                parameter -= SCHEDULE.lr_at(step) * scale * buffers[name]
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(run.model.get_parameter(name), parameter, rtol=1e-4, atol=1e-6)


def test_t16_two_runs_with_one_seed_are_equal(tmp_path, toy_detector, toy_loader):
    found = []
    for name in "ab":
        seed_everything(3)
        each = Run(tmp_path / name, toy_detector)
        each.go(toy_loader())
        found.append((each.state(), metrics(tmp_path / name)))
    assert_same(*found)


@pytest.mark.parametrize("limit", [1e-3, None])
def test_long_gradients_are_shortened_and_logged_at_full_length(run, toy_loader, limit):
    before = run.model.head.weight.clone()
    one_step = Schedule(1.0, 1)
    run.go(toy_loader(), schedule=one_step, manner=Manner(limit))
    moved = (run.model.head.weight - before).norm()
    assert bool(moved < 2e-3) == (limit is not None)
    assert metrics(run.folder.parent) == []  # the log of this fixture writes every second step
    gradients = [parameter.grad for parameter in run.model.parameters()]
    total = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert bool(total <= 1.001e-3) == (limit is not None)


def test_a_loader_that_ends_is_begun_again(run, toy_loader):
    two = [batch for _, batch in zip(range(2), toy_loader(), strict=False)]
    assert run.go(two) is None
    assert run.model.calls == 8


def test_t13_a_loader_without_batches_is_said(run):
    with pytest.raises(DataError, match="yields no batch"):
        run.go([])


def test_w17_a_finished_run_takes_no_step(run, toy_loader):
    run.start_step = 8
    assert run.go(toy_loader()) is None
    assert run.model.calls == 0
    assert run.events == []


# ------------------------------------------------------------------------------------ milestones


def test_saving_and_evaluating_when_due(run, toy_loader):
    run.milestones = Milestones(run.save, 3, run.evaluate, 4)
    run.go(toy_loader())
    due = ["save 3", "save 4", "evaluate 4", "save 4", "save 6", "save 8", "evaluate 8", "save 8"]
    assert run.events == due
    assert run.model.training


def test_evaluation_only_at_the_end(run, toy_loader):
    run.milestones = Milestones(run.save, 100, run.evaluate)
    run.go(toy_loader())
    assert run.events == ["save 8", "evaluate 8", "save 8"]


def test_t18_a_failing_evaluation_costs_no_training(run, toy_loader):
    def evaluate(step):
        raise KeyError("broken evaluator")

    run.milestones = Milestones(run.save, 100, evaluate, 5)
    with pytest.raises(KeyError, match="broken"):
        run.go(toy_loader())
    assert load_checkpoint(run.folder / "step_00000005.pt")["step"] == 5


# ---------------------------------------------------------------------------------------- resume


def as_it_is(loader):
    return loader


def in_a_data_loader(loader):
    """Eight batches in PyTorch's loader, which draws from the global generator when it begins."""
    eight = [batch for _, batch in zip(range(8), loader, strict=False)]
    return DataLoader(eight, batch_size=None)


class Lazily:
    """It begins that loader only when it is asked for the first batch, as a generator does."""

    def __init__(self, loader):
        self.loader = in_a_data_loader(loader)

    def __iter__(self):
        yield from self.loader


@pytest.mark.parametrize("wrap", [as_it_is, in_a_data_loader, Lazily])
def test_w18_n_and_n_steps_are_two_n_bit_for_bit(tmp_path, toy_detector, toy_loader, wrap):
    seed_everything(1)
    whole = Run(tmp_path / "whole", toy_detector)
    whole.go(wrap(toy_loader()))

    seed_everything(1)
    first = Run(tmp_path / "parts", toy_detector)
    stop_after(first, 4)
    assert first.go(wrap(toy_loader())) is signal.SIGTERM

    seed_everything(99)
    second = Run(tmp_path / "parts", toy_detector)
    assert second.start_step == 4
    second.go(wrap(toy_loader(second.start_step)))
    assert_same(whole.state(), second.state())
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def stop_after(run, step):
    """Send SIGTERM to this process while `step` is saved."""
    save = run.milestones.save

    def save_and_stop(done):
        save(done)
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    run.milestones = Milestones(save_and_stop, run.milestones.save_every)


def test_a_crash_between_checkpoints_is_repeated_exactly(tmp_path, toy_detector, toy_loader):
    seed_everything(1)
    whole = Run(tmp_path / "whole", toy_detector, save_every=4)
    whole.go(toy_loader())
    seed_everything(1)
    broken = Run(tmp_path / "parts", toy_detector, save_every=4)

    def until_seven():
        for step, batch in enumerate(toy_loader(), start=1):
            if step == 8:
                raise KeyError("power cut")
            yield batch

    with pytest.raises(KeyError):
        broken.go(until_seven())
    resumed = Run(tmp_path / "parts", toy_detector)
    assert resumed.start_step == 4
    resumed.go(toy_loader(4))
    assert_same(whole.state(), resumed.state())
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


# ---------------------------------------------------------------------------------------- faults


def test_t1_a_loss_that_is_not_finite_stops_before_the_step(run, toy_loader):
    run.milestones = Milestones(run.save, 2)
    run.model.poison_at = 3
    with pytest.raises(NumericalError, match=r"step 3.*loss_cls nan.*step3_a, step3_b"):
        run.go(toy_loader())
    assert all(bool(p.isfinite().all()) for p in run.model.parameters())
    assert run.events == ["save 2"]
    failure = json.loads((run.folder.parent / "failure.json").read_text())
    assert failure["losses"]["loss_cls"] == "nan"
    assert len(failure["losses_before"]) == 2


def test_t2_a_gradient_that_is_not_finite_stops_too(run, toy_loader):
    run.model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        NumericalError, match=r"step 1: loss_rpn_cls 0\.\d.*gradient norm (inf|nan)"
    ):
        run.go(toy_loader(), manner=Manner(35.0))


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
        r"step 3 with pictures step3_a, step3_b.*\(2, 3, 8, 8\).*train.batch_size.*Step 2 is saved"
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


# --------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("error", [RuntimeError, MachineError])
def test_t9_data_workers_that_die_of_the_same_signal_cost_nothing(run, toy_loader, error):
    def killed_with_us():
        for step, batch in enumerate(toy_loader(), start=1):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                raise error("DataLoader worker (pid 1) is killed by signal: Terminated.")
            yield batch

    run.milestones = Milestones(run.save, 100)
    assert run.go(killed_with_us()) is signal.SIGTERM
    assert run.events == ["save 3"]


def test_t10_data_workers_that_die_alone_are_an_error(run, toy_loader):
    def killed():
        yield next(iter(toy_loader()))
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    with pytest.raises(RuntimeError, match="worker"):
        run.go(killed())


def test_a_checkpoint_is_not_written_twice_for_a_signal(run, toy_loader):
    stop_after(run, 4)
    assert run.go(toy_loader()) is signal.SIGTERM
    assert run.events == ["save 4"]
