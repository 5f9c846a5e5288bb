"""A detector made ready: the same numbers, names and strides, compiled or checkpointed."""

import copy

import pytest
import torch

from rfcn.config import schema
from rfcn.engine import compilation
from rfcn.engine.precision import Precision
from rfcn.running.machine import dense_parts, prepare
from tests.models.test_autocast import BATCH, TARGET

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget_graphs():
    yield
    torch.compiler.reset()


def step(detector, precision="float32"):
    """The losses of a training step, and its gradient."""
    detector.train().zero_grad()
    with Precision(precision).autocast():
        losses = detector(BATCH, [TARGET])
    sum(losses.values()).backward()
    return losses, torch.cat([one.grad.flatten() for one in detector.parameters()])


def test_it_becomes_channels_last_and_nothing_else(tiny_detector):
    detector = tiny_detector()
    assert prepare(detector, schema.Runtime(), CPU) == []
    weight = detector.backbone.conv2.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_what_is_dense(tiny_detector):
    names = [type(part).__name__ for part in dense_parts(tiny_detector())]
    assert names == ["TinyBackbone", "RPNHead"]
    c4 = tiny_detector(roi_head=schema.C4FRCNN(type="c4_frcnn", pool=4))
    assert [type(part).__name__ for part in dense_parts(c4)] == [*names, "Sequential"]


@pytest.mark.parametrize("saving", [False, True], ids=["", "and_checkpointed"])
def test_compiled_it_loses_and_learns_the_same(tiny_detector, monkeypatch, saving):
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    plain = tiny_detector()
    compiled = copy.deepcopy(plain)
    runtime = schema.Runtime(compile=True, activation_checkpointing=saving)
    notes = prepare(compiled, runtime, CPU)
    assert notes[-1] == "compiled when first used, some minutes in all: TinyBackbone, RPNHead"
    assert list(compiled.state_dict()) == list(plain.state_dict())
    (wanted, gradient), (losses, found) = step(plain), step(compiled)
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        one, two = (each.eval()(BATCH)[0] for each in (plain, compiled))
    torch.testing.assert_close(one.scores, two.scores, rtol=1e-5, atol=1e-6)


def test_compiled_it_computes_with_half_the_bits(tiny_detector, monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    plain, compiled = tiny_detector(), tiny_detector()
    prepare(compiled, schema.Runtime(compile=True), CPU)
    (wanted, _), (losses, _) = step(plain, "bfloat16"), step(compiled, "bfloat16")
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-3, atol=1e-5)


def test_a_copy_of_a_compiled_detector_is_its_own(tiny_detector, monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    detector = tiny_detector()
    prepare(detector, schema.Runtime(compile=True), CPU)
    twin = copy.deepcopy(detector)
    for parameter in detector.parameters():
        parameter.data.zero_()
    images = detector.normalize(BATCH)
    assert twin.backbone(images).roi.abs().sum() > 0
    assert detector.backbone(images).roi.abs().sum() == 0
