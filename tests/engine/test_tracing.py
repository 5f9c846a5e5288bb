"""Which module lost the numbers."""

import json
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from rfcn.engine.tracing import lost_gradients, lost_weights, some_names, trace


class Root(nn.Module):
    """Its gradient is NaN at 0 (infinity times 0), its value is not."""

    def forward(self, values):
        return values.square().sqrt()


class Apart(nn.Module):
    """Gives more than one tensor, in nested containers."""

    def forward(self, values):
        return {"one": [values * 2, torch.ones(2, dtype=torch.int64)], "two": (values * 3,)}


def chain(*, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    with torch.no_grad():
        second.weight.mul_(scale)
    return nn.Sequential(first, nn.ReLU(inplace=True), nn.Sequential(second))


def step(model, *, value: float = 1.0):
    def run():
        model(torch.full((5, 3), value)).sum().backward()

    return run


def test_a_healthy_step_shows_nothing_lost():
    model = chain()
    seen = trace(model, step(model))
    assert seen.output is None
    assert seen.gradient is None
    assert seen.error is None
    assert [one.module for one in seen.outputs] == ["0", "1", "2.0", "2", ""]
    assert [one.module for one in seen.gradients][-1] == "0", "the backward pass ends there"
    assert lost_weights(model) == lost_gradients(model) == []
    assert not any(module._forward_hooks for module in model.modules())


def test_the_innermost_module_that_lost_a_number_first_is_named():
    model = chain(scale=3e38)
    seen = trace(model, step(model, value=10.0))
    assert seen.output.module == "2.0"
    assert (seen.output.kind, seen.output.lost > 0, seen.output.dtype) == (
        "Linear",
        True,
        "float32",
    )
    assert [one.module for one in seen.before(2)] == ["1", "2.0"]
    assert "2.0 (Linear): float32 5 x 2" in str(seen.output)
    assert "of 10 not finite" in str(seen.output)


def test_compiled_modules_run_as_they_were_written(monkeypatch):
    """As compiled ones call no hook. (Compiling one for real costs tens of seconds.)"""
    stances = []

    def set_stance(name):
        stances.append(name)
        return nullcontext()

    monkeypatch.setattr(torch.compiler, "set_stance", set_stance)
    model = chain()
    trace(model, step(model))
    assert stances == []
    model._compiled_call_impl = model._call_impl
    assert len(trace(model, step(model)).outputs) == 5
    assert stances == ["force_eager"]


def test_a_gradient_that_is_lost_though_the_outputs_are_not():
    model = nn.Sequential(nn.Linear(3, 4), Root(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    seen = trace(model, step(model))
    assert seen.output is None
    assert seen.gradient.module == "0", "what came back through the root"
    assert lost_gradients(model) == ["0.weight", "0.bias"]


def test_every_tensor_of_a_nested_output_is_looked_at():
    model = Apart()
    seen = trace(model, lambda: model(torch.tensor([1.0, float("nan")])))
    assert [(one.lost, one.largest) for one in seen.outputs] == [(1, 2.0), (1, 3.0)]


def test_a_step_that_fails_has_its_trace():
    model = chain()

    def run():
        model(torch.ones(1, 3))
        raise RuntimeError("row 3 is not finite")

    seen = trace(model, run)
    assert seen.error == "RuntimeError: row 3 is not finite"
    assert len(seen.outputs) == 5


def test_it_is_json():
    model = chain(scale=3e38)
    told = json.loads(json.dumps(trace(model, step(model, value=10.0)).told(), allow_nan=False))
    assert told["output"]["module"] == "2.0"
    assert [one["module"] for one in told["outputs_before"]] == ["0", "1", "2.0"]
    assert told["error"] is None


@pytest.mark.parametrize(("training", "named"), [(True, []), (False, ["running_mean"])])
def test_statistics_that_a_step_spoils_are_no_suspects(training, named):
    norm = nn.BatchNorm2d(2).train(training)
    norm.running_mean[0] = float("nan")
    assert lost_weights(norm) == named


def test_a_poisoned_weight_is_named():
    model = chain()
    with torch.no_grad():
        model[2][0].bias[1] = float("inf")
    assert lost_weights(model) == ["2.0.bias"]


def test_long_lists_are_cut():
    assert some_names(["a", "b"]) == "a, b"
    assert some_names(list("abcdefgh")) == "a, b, c, d, e and 3 more"
