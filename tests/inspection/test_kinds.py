"""The table of kinds: every kind a reader can report is in it, and follows the config."""

import re
from pathlib import Path

import pytest

from rfcn.config.schema import Data
from rfcn.datasets import findings
from rfcn.inspection.kinds import LEVELS, kind_named, kinds_of

READERS = Path(findings.__file__).parent
CALL = re.compile(r'(?:findings\.add|note|finding)\(\s*"([a-z ]+)"')


def test_every_kind_the_readers_report_is_known() -> None:
    said = {
        kind for file in READERS.glob("*.py") for kind in CALL.findall(file.read_text("utf-8"))
    } | {findings.BROKEN}
    assert {"bad", "cut", "unknown", "no picture"} <= said
    assert said - set(kinds_of(Data())) == set()


def test_every_kind_says_what_training_does() -> None:
    for name, kind in kinds_of(Data()).items():
        assert kind.level in LEVELS
        assert kind.title, name
        assert kind.done, name


def test_the_config_decides_what_is_done() -> None:
    assert kinds_of(Data())["bad"].done == "dropped"
    assert kinds_of(Data(bad_box="stop"))["bad"].done == "training stops"
    assert kinds_of(Data())["unknown"].level == "fault"
    assert kinds_of(Data(unknown_class="skip"))["unknown"].level == "warning"
    assert kinds_of(Data())["picture"].done == "training stops"
    assert kinds_of(Data(on_bad_image="skip"))["picture"].done.startswith("skipped")
    assert kinds_of(Data(missing_annotation="skip"))["no annotation"].level == "warning"
    assert kinds_of(Data(size_mismatch="stop"))["size"].level == "fault"
    assert kinds_of(Data(exif="ignore"))["turned"].level == "warning"


@pytest.mark.parametrize("name", ["bad", "leak"])
def test_a_known_kind_is_found_an_unknown_one_is_a_fault(name: str) -> None:
    kinds = kinds_of(Data())
    assert kind_named(name, kinds) is kinds[name]
    assert kind_named("new", kinds).level == "fault"
