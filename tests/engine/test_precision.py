import pytest
import torch

from rfcn.engine.precision import MOST_SKIPPED, Precision
from rfcn.errors import WeightsError


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


def sgd(layer):
    return torch.optim.SGD(layer.parameters(), lr=1.0)


def one_step(precision, layer, optimizer, factor=1.0):
    """A step that is taken where its gradient is finite; the gradient of its weight."""
    optimizer.zero_grad()
    with precision.autocast():
        found = layer(torch.full((4, 3), 0.1))
    precision.backward(found.float().mean() * factor)
    precision.unscale(optimizer)
    gradient = layer.weight.grad.clone()
    if gradient.isfinite().all():
        precision.take(optimizer)
    else:
        precision.skip()
    return gradient


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_the_forward_pass_is_narrow_and_the_gradient_is_not(layer, name):
    precision = Precision(name)
    with precision.autocast():
        found = layer(torch.ones(1, 3))
    assert found.dtype == getattr(torch, name)
    gradient = one_step(precision, layer, sgd(layer))
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, torch.full((2, 3), 0.05), rtol=5e-3, atol=0)
    assert layer.weight.dtype == torch.float32


def test_float32_touches_nothing(layer):
    layer = layer.double()
    with Precision().autocast():
        assert layer(torch.ones(1, 3, dtype=torch.float64)).dtype == torch.float64
    assert Precision().may_skip is False
    assert Precision("bfloat16").may_skip is False


def test_scaling_keeps_gradients_that_float16_alone_would_lose(layer):
    small = 2.0**-22
    lost = layer(torch.full((4, 3), 0.1)).half().mean() * torch.tensor(small).half()
    assert torch.autograd.grad(lost, layer.weight)[0].abs().max() < small / 40
    gradient = one_step(Precision("float16"), layer, sgd(layer), small)
    torch.testing.assert_close(gradient, torch.full((2, 3), 0.05 * small), rtol=5e-3, atol=0)


def test_t2_a_step_beyond_the_range_is_skipped_and_the_scale_halved(layer):
    precision, optimizer = Precision("float16"), sgd(layer)
    before = layer.weight.clone()
    assert not one_step(precision, layer, optimizer, 32.0).isfinite().all()
    assert torch.equal(layer.weight, before)
    assert precision.state_dict()["scaler"]["scale"] == 2.0**15
    with precision.autocast():
        layer(torch.ones(1, 3))
    precision.backward(layer.weight.sum() * float("inf"))
    precision.unscale(optimizer)
    said = precision.skip()
    assert "the loss scale is now 16384 (2 skipped, 2 in a row)" in said


def test_t2_so_many_in_a_row_are_no_search_any_more(layer):
    precision, optimizer = Precision("float16"), sgd(layer)
    for _ in range(MOST_SKIPPED - 1):
        assert precision.may_skip
        one_step(precision, layer, optimizer, float("inf"))
    assert not precision.may_skip
    assert "20 steps in a row left the range of float16 (train.precision)" in precision.give_up()
    one_step(precision, layer, optimizer)
    assert precision.may_skip, "a step that is taken begins the row anew"


def test_the_state_goes_on_exactly(layer):
    first, optimizer = Precision("float16"), sgd(layer)
    for factor in (float("inf"), 1.0, float("inf")):
        one_step(first, layer, optimizer, factor)
    second = Precision("float16")
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert first.state_dict()["scaler"]["scale"] == 2.0**14
    assert (second.state_dict()["skipped"], second.state_dict()["in_a_row"]) == (2, 1)


def test_the_state_of_another_precision_is_refused():
    with pytest.raises(WeightsError, match=r"train\.precision float16, and this one is bfloat16"):
        Precision("bfloat16").load_state_dict(Precision("float16").state_dict())
