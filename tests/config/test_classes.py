"""C16: lists of class names."""

from pathlib import Path

import pytest

from rfcn.config.classes import check_class_names, read_class_file
from rfcn.errors import ConfigError


# C16
@pytest.mark.parametrize(
    ("names", "part"),
    [
        ([], "is empty"),
        (["a", " "], "empty name"),
        (["a", "b", "a"], "'a' more than once"),
        (["a", "Background"], "'background'"),
    ],
)
def test_c16_lists_that_are_refused(names: list[str], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        check_class_names(names)


def test_good_lists_pass() -> None:
    check_class_names(["a", "A", "two words", "no"])


def test_a_file_of_names(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(b"\xef\xbb\xbf# of mine\r\ncircle\r\n\r\n big square \r\n")
    assert read_class_file(str(file)) == ("circle", "big square")


# C16
def test_c16_a_word_instead_of_a_list() -> None:
    with pytest.raises(ConfigError, match=r"classes: \[car\]"):
        read_class_file("car")


# C16
@pytest.mark.parametrize(("content", "part"), [(b"a\na\n", "more than once"), (b"", "is empty")])
def test_c16_files_that_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=part) as caught:
        read_class_file(str(file))
    assert str(file) in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_class_file(str(file))
