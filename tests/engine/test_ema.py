import pytest
import torch
from torch import nn

from rfcn.engine.ema import WeightAverage
from rfcn.errors import WeightsError


@pytest.fixture
def model():
    """A frozen layer, live statistics and a trained layer."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    made[0].requires_grad_(False)
    return made.to(memory_format=torch.channels_last)


def move(model):
    """As a training step would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.rand_like(parameter)
    model(torch.rand(2, 3, 4, 4))  # the statistics


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_average_is_the_formula_written_out(model):
    average = WeightAverage(model, 0.25)
    wanted = model[2].weight.clone().double()
    for step, decay in enumerate([2 / 11, 3 / 12, 0.25, 0.25], start=1):
        assert decay == min(0.25, (1 + step) / (10 + step))
        move(model)
        average.update()
        wanted = decay * wanted + (1 - decay) * model[2].weight.double()
    with average.in_place():
        torch.testing.assert_close(model[2].weight.double(), wanted, rtol=1e-6, atol=1e-7)


def test_only_what_changes_is_averaged(model):
    names = set(WeightAverage(model, 0.9).state_dict()["weights"])
    statistics = {"1.running_mean", "1.running_var"}
    assert names == {"1.weight", "1.bias", "2.weight", "2.bias"} | statistics


def test_in_its_place_the_model_is_the_average_and_itself_again_afterwards(model):
    average = WeightAverage(model, 0.9)
    move(model)
    average.update()
    own, averages = copied(model), average.state_dict()["weights"]
    expected = {name: value.clone() for name, value in averages.items()}

    def evaluate():
        with average.in_place():
            assert same(model, {**own, **expected})
            assert not same(model, own)
            assert model[2].weight.is_contiguous(memory_format=torch.channels_last)
            raise KeyError("an evaluation that fails")

    with pytest.raises(KeyError):
        evaluate()
    assert same(model, own)
    assert all(torch.equal(averages[name], value) for name, value in expected.items())


def test_it_takes_over_for_good(model):
    average = WeightAverage(model, 0.9)
    move(model)
    average.update()
    expected = {**copied(model), **average.state_dict()["weights"]}
    average.take_over()
    assert same(model, expected)


def test_equal_weights_have_themselves_for_an_average(model):
    own = copied(model)
    average = WeightAverage(model, 0.3)
    for _ in range(3):
        average.update()
    with average.in_place():
        assert same(model, own)


def test_the_state_goes_on_exactly(model):
    whole = WeightAverage(model, 0.5)
    move(model)
    whole.update()
    state = {"updates": 1, "weights": {k: v.clone() for k, v in whole._averages.items()}}
    resumed = WeightAverage(model, 0.5)
    resumed.load_state_dict(state)
    move(model)
    for one in (whole, resumed):
        one.update()
    assert resumed.updates == whole.updates == 2
    states = [one.state_dict()["weights"] for one in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_average_of_another_model_is_refused(model):
    state = WeightAverage(model, 0.5).state_dict()
    with pytest.raises(WeightsError, match=r"averages other weights than this model: 0\.bias"):
        WeightAverage(model.requires_grad_(True), 0.5).load_state_dict(state)
    wider = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
    wider[0].requires_grad_(False)
    with pytest.raises(WeightsError, match=r"2\.weight, 2\.bias"):
        WeightAverage(wider, 0.5).load_state_dict(state)
