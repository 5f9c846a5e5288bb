"""Pictures that could not be read: told once, counted, not too many."""

import pytest

from rfcn.datasets.skipped import SkippedPictures
from rfcn.errors import DataError


def test_none_is_allowed_unless_said() -> None:
    with pytest.raises(DataError, match=r"^a is torn$"):
        SkippedPictures().add("a", DataError("a is torn"))


def test_each_is_told_once_and_one_too_many_ends_it() -> None:  # I12
    told: list[str] = []
    skipped = SkippedPictures(2, tell=told.append, said="left out")
    assert skipped.summary() is None
    for name in ("a", "b", "a"):
        skipped.add(name, DataError(f"{name} is torn"))
    assert told == ["left out (1 of at most 2): a is torn", "left out (2 of at most 2): b is torn"]
    assert skipped.summary() == "Pictures that could not be read: 2 (a, b)."
    with pytest.raises(DataError, match=r"3 pictures.*passes over 2.*: a, b, c\..*c is torn"):
        skipped.add("c", DataError("c is torn"))
