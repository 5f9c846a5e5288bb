"""What an operator registers: shapes and gradients, where it is compiled, and nothing elsewhere."""

import re
from pathlib import Path

import pytest
import torch

from rfcn.ops import library, linear

SOURCES = [file.read_text() for file in Path(linear.__file__).parent.glob("*.py")]
OPS = [op for text in SOURCES for op in re.findall(r'^linear\.register\("(\w+)"', text, re.M)]


def test_nothing_is_registered_where_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(library, "LIBRARY", library.load("torch", library.Path(".")))
    linear.register("an operator that nobody has", lambda: pytest.fail("called"))


@pytest.mark.parametrize("op", OPS)
def test_a_gradient_takes_the_arguments_of_its_operator(compiled, op):
    forward = getattr(torch.ops.rfcn, op).default._schema.arguments
    backward = getattr(torch.ops.rfcn, f"{op}_backward").default._schema.arguments
    numbers = [(one.name, str(one.type)) for one in forward[1:]]
    assert [(one.name, str(one.type)) for one in backward[1:]][: len(numbers)] == numbers
