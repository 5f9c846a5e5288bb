import pytest
import torch

from rfcn.engine.finite import first_non_finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_tensor_is_named(bad):
    tree = {"a": torch.zeros(2), "b": {"c": [torch.ones(1), torch.tensor([0.0, bad])]}, "d": "x"}
    assert first_non_finite(tree) == "b.c.1"


def test_finite_integer_and_other_values_pass():
    tree = {"a": torch.zeros(0), "b": (torch.tensor([2**62]), 3, None, "nan"), "c": {}}
    assert first_non_finite(tree) is None


def test_half_precision_is_looked_at():
    assert first_non_finite({"a": torch.tensor([1e6]).half()}) == "a"
