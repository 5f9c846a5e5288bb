"""What a test can do beyond one look, by name."""

import pytest

from rfcn.config import schema
from rfcn.config.loader import override_config
from rfcn.inference.augmentation import NAMES, overrides_of
from rfcn.inference.detector import Detector


def test_the_published_sizes_for_the_published_size() -> None:
    config = override_config(schema.Config(), overrides_of(["scales"], schema.Config()))
    assert config.model.test_time.short_sides == (200, 400, 600, 800, 1000)
    assert config.model.test_time.assignment == "nearest"
    small = schema.Config(data=schema.Data(test_short_side=300, train_short_sides=(300,)))
    assert overrides_of(["scales"], small) == [
        "model.test_time.short_sides=[100, 200, 300, 400, 500]"
    ]


def test_every_name_is_settings_that_the_config_knows() -> None:
    config = override_config(schema.Config(), overrides_of(list(NAMES), schema.Config()))
    assert config.model.test_time.flip
    assert config.model.test_time.box_iterations == 1
    assert config.model.postprocess.suppression == schema.SoftNMS(type="soft_nms")
    assert config.model.postprocess.box_voting == schema.BoxVoting()
    assert overrides_of([], schema.Config()) == []
    assert len(overrides_of(["flip", "flip"], schema.Config())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_what_is_found(name: str, tiny: Detector, photo) -> None:
    plain = tiny.predict(photo)
    other = tiny.with_tta(name).predict(photo)
    assert len(other) > 0
    assert other.boxes.shape != plain.boxes.shape or not other.boxes.equal(plain.boxes)
