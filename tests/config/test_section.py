"""What sections and their ranges refuse."""

from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, ValidationError

from rfcn.config.section import Count, Fraction, Overlap, Positive, Section, whole


class Sample(Section):
    count: Count = 1
    fraction: Fraction = 0
    overlap: Overlap = 1
    positive: Positive = 1
    depth: Annotated[Literal[18, 50], BeforeValidator(whole)] = 18


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0}, {"count": 1.5}, {"fraction": 1.1}, {"overlap": 0}, {"positive": 0},
        {"positive": float("nan")}, {"depth": 50.0}, {"depth": True}, {"other": 1},
    ],
)  # fmt: skip
def test_it_refuses(wrong) -> None:
    with pytest.raises(ValidationError):
        Sample(**wrong)


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Sample().count = 2
