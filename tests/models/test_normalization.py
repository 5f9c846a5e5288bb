import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rfcn.models.normalization import FrozenBatchNorm, group_norm


def a_batch_norm():
    norm = nn.BatchNorm2d(6)
    generator = torch.Generator().manual_seed(0)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.data.normal_(generator=generator)
    norm.running_var.uniform_(0.5, 2, generator=generator)
    return norm


def test_it_is_batch_norm_at_test_with_the_same_weights():
    norm = a_batch_norm()
    frozen = FrozenBatchNorm(6)
    missing, unexpected = frozen.load_state_dict(norm.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["num_batches_tracked"])
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    assert_close(frozen(x), norm.eval()(x))


def test_by_hand():
    frozen = FrozenBatchNorm(1, eps=0)
    frozen.load_state_dict(
        {
            name: torch.tensor([value])
            for name, value in {
                "weight": 3.0,
                "bias": 1.0,
                "running_mean": 2.0,
                "running_var": 4.0,
            }.items()
        }
    )
    assert frozen(torch.full((1, 1, 1, 1), 6.0)).item() == 3 * (6 - 2) / 2 + 1


def test_nothing_changes_in_training():
    frozen = FrozenBatchNorm(6).train()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    x = torch.randn(4, 6, 3, 3) * 10 + 5
    assert_close(frozen(x), frozen.eval()(x), rtol=0, atol=0)
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name])
    assert list(frozen.parameters()) == []


def test_it_lets_gradients_through():
    x = torch.randn(1, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FrozenBatchNorm(6).double(), x)


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(64, 32), (32, 32), (16, 16), (48, 16), (24, 8), (12, 4), (6, 2), (7, 1)],
)
def test_group_norm_takes_as_many_groups_as_divide(channels, groups):
    norm = group_norm(channels)
    assert norm.num_groups == groups
    assert norm(torch.zeros(1, channels, 2, 2)).shape == (1, channels, 2, 2)
