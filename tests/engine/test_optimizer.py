import pytest
import torch
from torch import nn

from rfcn.engine.optimizer import build_sgd, set_lr


class Toy(nn.Module):
    """A frozen stem, a pretrained body with live norms, a new head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1).requires_grad_(False)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
        self.head = nn.Conv2d(4, 2, 1)


def groups(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {group["name"]: {names[p] for p in group["params"]} for group in optimizer.param_groups}


def build(model: nn.Module, **options: object) -> torch.optim.SGD:
    defaults = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "bias_lr_factor": 2.0}
    return build_sgd(model, **(defaults | options))


@pytest.mark.parametrize(
    "new", [lambda name: name.startswith("head."), {"head.weight", "head.bias"}]
)
def test_each_parameter_is_in_the_group_it_belongs_to(new):
    model = Toy()
    assert groups(build(model, new_parameters=new), model) == {
        "weights": {"body.0.weight", "body.0.bias", "head.weight"},
        "new_biases": {"head.bias"},
        "normalisation": {"body.1.weight", "body.1.bias", "body.2.weight", "body.2.bias"},
    }


def test_rates_and_decays_of_the_groups():
    optimizer = build(Toy(), new_parameters={"head.bias"})
    found = {g["name"]: (g["lr"], g["weight_decay"], g["momentum"]) for g in optimizer.param_groups}
    assert found == {
        "weights": (0.1, 5e-4, 0.9),
        "new_biases": (0.2, 5e-4, 0.9),
        "normalisation": (0.1, 0.0, 0.9),
    }


def test_a_normalisation_at_the_top_is_found():
    model = nn.GroupNorm(1, 2)
    assert groups(build(model), model) == {"normalisation": {"weight", "bias"}}


def test_set_lr_keeps_the_ratio_between_groups():
    optimizer = build(Toy(), new_parameters={"head.bias"})
    set_lr(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.02, 0.01]


def test_set_lr_serves_any_optimizer():
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=1.0)
    set_lr(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_frozen_parameters_never_move():
    model = Toy()
    before = model.stem.weight.clone()
    optimizer = build(model)
    model.head(model.body(model.stem(torch.rand(2, 3, 4, 4)))).sum().backward()
    optimizer.step()
    assert torch.equal(model.stem.weight, before)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="requires a gradient"):
        build(nn.Linear(1, 1).requires_grad_(False))
