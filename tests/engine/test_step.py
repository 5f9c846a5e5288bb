"""One step, taken apart. The loop around it: test_train.py, test_train_together.py."""

import pytest
import torch

from rfcn.engine.optimizer import build_sgd
from rfcn.engine.step import Manner, find_gradients, take_step
from tests.engine.conftest import toy_batch


@pytest.fixture
def optimizer(toy_model):
    return build_sgd(toy_model, lr=0.1, momentum=0.9, weight_decay=0.0)


def test_gradients_are_found_before_a_parameter_moves(toy_model, optimizer):
    before = [parameter.clone() for parameter in toy_model.parameters()]
    found = find_gradients(toy_model, optimizer, [toy_batch(1)], Manner(1e-3))
    assert found.is_good
    assert found.loss == pytest.approx(sum(value.item() for value in found.losses.values()))
    assert found.gradient_norm > 1e-3, "as it was before it was shortened"
    lengths = [parameter.grad.norm() for parameter in toy_model.parameters()]
    assert float(torch.stack(lengths).norm()) <= 1.001e-3
    assert all(map(torch.equal, before, toy_model.parameters()))
    take_step(optimizer, Manner(), found)
    assert not all(map(torch.equal, before, toy_model.parameters()))


def test_what_is_not_finite_is_not_good(toy_model, optimizer):
    toy_model.poison_at = 1
    assert not find_gradients(toy_model, optimizer, [toy_batch(1)], Manner()).is_good
