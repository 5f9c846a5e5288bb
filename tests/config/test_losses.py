"""Which RoIs count."""

import pytest
from pydantic import TypeAdapter, ValidationError

from rfcn.config.losses import OHEM, RoILoss, Sampled


def test_the_type_chooses_the_loss() -> None:
    read = TypeAdapter(RoILoss).validate_python
    assert read({"type": "ohem"}) == OHEM()
    assert read({"type": "sampled"}) == Sampled(type="sampled")
    with pytest.raises(ValidationError, match="focal"):
        read({"type": "focal"})


def test_background_begins_below_foreground() -> None:
    with pytest.raises(ValidationError, match="background_iou must be below foreground_iou"):
        Sampled(type="sampled", foreground_iou=0.5, background_iou=0.5)
