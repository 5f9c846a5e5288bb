"""What every format shares; the formats' own tests try it on files."""

from pathlib import Path

import pytest

from rfcn.datasets.listed import checked_names, stop_at_unknown
from rfcn.errors import DataError


@pytest.mark.parametrize("names", [[], ["a", ""], ["a", "b", "a"]])
def test_lists_of_classes_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(DataError, match="List each name once"):
        checked_names(names)


def test_classes_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\n dining table \n")
    assert checked_names(str(tmp_path / "names.txt")) == ("cat", "dining table")


def test_unknown_classes_are_counted_with_the_nearest_known() -> None:
    stop_at_unknown([("cat", Path("a"))], ["cat"])
    named = [("cat", Path("a")), ("Dog", Path("b")), ("Dog", Path("c"))]
    with pytest.raises(DataError, match=r"'Dog' \(2 objects, nearest 'dog'\); first in b"):
        stop_at_unknown(named, ["cat", "dog"])
