"""C19: paths as people write them."""

from pathlib import Path

import pytest

from rfcn.config.paths import expand_path
from rfcn.errors import ConfigError


# C19
def test_c19_home_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RFCN_TEST_PLACE", "deep")
    assert expand_path("~/voc", key="k") == tmp_path / "voc"
    assert expand_path("$RFCN_TEST_PLACE/voc", key="k") == Path("deep/voc")
    assert expand_path("a/${RFCN_TEST_PLACE}", key="k") == Path("a/deep")
    assert expand_path("data/voc", key="k") == Path("data/voc")


# C19
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("$RFCN_NOT_SET/voc", "RFCN_NOT_SET"),
        ("${RFCN_NOT_SET}/voc", "RFCN_NOT_SET"),
        ("data/voc ", "a space"),
        (" data/voc", "a space"),
        ("", "empty"),
        ("data\\voc", "Write /"),
    ],
)
def test_c19_slips(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r"^data\.root: ") as caught:
        expand_path(text, key="data.root")
    assert part in str(caught.value)


# C19
def test_c19_a_backslash_that_is_part_of_a_name(tmp_path: Path) -> None:
    odd = tmp_path / "a\\b"
    odd.mkdir()
    assert expand_path(str(odd), key="k") == odd
