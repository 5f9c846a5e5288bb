"""What every section of a config is made of: a strict mapping, and ranges of numbers."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def whole(value: object) -> object:
    """Python takes `true` for 1 and 50.0 for 50, and so would a literal; a config must not."""
    if type(value) is not int:
        raise ValueError(f"expected an integer, found {value!r}")
    return value


def names_sets(value: object) -> object:
    """Whoever has but one set learns here how it serves for training and evaluation."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(
            "no set to evaluate on is named; one set serves for both as train: NAME[:80%] and "
            "val: NAME[80%:]"
        )
    return value


EvaluationSets = Annotated[str, BeforeValidator(names_sets)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Overlap = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Offsets = tuple[Positive, Positive, Positive, Positive]
Pixels = tuple[float, float, float]


class Section(BaseModel):
    """A frozen mapping that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )
