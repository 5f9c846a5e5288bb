"""T5: what is said of a training that goes on without learning, and when."""

import re

import pytest

from rfcn.config.schema import Config
from rfcn.engine.alarms import ALARMS, PATIENCE, Alarms

HEALTHY = {
    "train/loss_rpn_cls": 0.1,
    "train/loss_rpn_box": 0.1,
    "train/loss_cls": 0.5,
    "train/loss_box": 0.2,
    "train/fg_rois_per_image": 12.0,
    "train/fg_rois_kept": 9.0,
    "train/bg_loss_spread": 0.9,
}


@pytest.fixture
def said():
    return []


@pytest.fixture
def alarms(said):
    return Alarms(said.append)


def test_a_healthy_run_is_left_alone(alarms, said):
    for _ in range(100):
        alarms.look(HEALTHY, 20)
    assert said == []


# T5
@pytest.mark.parametrize(
    ("sick", "words"),
    [
        ({"train/fg_rois_per_image": 0.0, "train/fg_rois_kept": 0.0}, "no RoI has been foreground"),
        ({"train/fg_rois_kept": 0.0}, "OHEM has kept no foreground RoI"),
        ({"train/bg_loss_spread": 1e-7}, "one and the same loss"),
        ({"train/loss_box": 0.0}, "loss_box has been exactly 0 for 200 steps"),
        ({"train/loss_rpn_box": 0.0}, "no anchor belongs to an object"),
        ({"train/loss_cls": 0.0}, "loss_cls has been exactly 0"),
        ({"train/loss_rpn_cls": 0.0}, "loss_rpn_cls has been exactly 0"),
    ],
)
def test_t5_each_sign_is_told_once_with_what_to_look_at(alarms, said, sick, words):
    for _ in range(9):
        alarms.look(HEALTHY | sick, 20)
    assert said == [], "not before its time"
    for _ in range(30):
        alarms.look(HEALTHY | sick, 20)
    (warning,) = said
    assert words in warning
    assert "200 steps" in warning
    assert any(f"{section}." in warning for section in ("model", "train", "data"))


def test_t5_a_sign_that_goes_away_begins_anew(alarms, said):
    for _ in range(3):
        alarms.look(HEALTHY | {"train/loss_box": 0.0}, PATIENCE - 1)
        alarms.look(HEALTHY, 1)
    assert said == []


def test_what_a_model_does_not_tell_is_no_sign(alarms, said):
    alarms.look({"train/loss_rpn_cls": 0.1}, 10 * PATIENCE)
    alarms.look({}, 10 * PATIENCE)
    assert said == []


def test_numbers_that_are_lost_are_no_sign(alarms, said):
    alarms.look(dict.fromkeys(HEALTHY, float("nan")), 10 * PATIENCE)
    assert said == []


def test_keys_that_alarms_name_are_in_the_config():
    """A remedy that names a key which does not exist is none."""
    sections = Config().model_dump()
    named = {
        key for one in ALARMS for key in re.findall(r"\b(?:model|train|data)\.[\w.]+\w", one.words)
    }
    assert len(named) > 8
    for key in named:
        found = sections
        for part in key.split("."):
            assert part in found, key
            found = found[part]
