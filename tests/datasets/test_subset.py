"""Parts of sets: always the same, disjoint and complete."""

import random
from fractions import Fraction
from pathlib import Path

import pytest

from rfcn.datasets.subset import SetPart, known_sets, parse_sets
from rfcn.errors import DataError

NAMES = [f"{number:06d}" for number in range(200)]


def chosen(text: str, names: list[str] = NAMES) -> set[str]:
    (part,) = parse_sets(text)
    return {names[index] for index in part.choose(names)}


def test_what_is_written_is_what_is_meant() -> None:
    assert parse_sets("voc_2007_trainval + a[:100]+b[12.5%:80%]") == [
        SetPart("voc_2007_trainval"),
        SetPart("a", None, 100),
        SetPart("b", Fraction(1, 8), Fraction(4, 5)),
    ]
    assert parse_sets("a[:]") == [SetPart("a")]
    assert [str(one) for one in parse_sets("a+b[ 12.5% : ]+c[3:7]")] == ["a", "b[12.5%:]", "c[3:7]"]


@pytest.mark.parametrize("cut", ["80%", "33.3%", "50", "1"])
def test_two_parts_are_disjoint_and_complete(cut: str) -> None:
    first, second = chosen(f"all[:{cut}]"), chosen(f"all[{cut}:]")
    assert first
    assert second
    assert not first & second
    assert first | second == set(NAMES)


def test_sizes() -> None:
    assert len(chosen("all[:37]")) == 37
    assert len(chosen("all[37:40]")) == 3
    assert chosen("all[:500]") == set(NAMES)  # at most
    assert 140 <= len(chosen("all[:80%]")) <= 180
    assert chosen("all[0%:100%]") == set(NAMES)


def test_a_part_keeps_the_order_of_its_set() -> None:
    (part,) = parse_sets("all[:20]")
    indices = part.choose(NAMES)
    assert indices == sorted(indices)
    assert indices != list(range(20))


def test_the_order_of_the_list_does_not_matter() -> None:
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    for text in ("all[:20]", "all[30%:60%]"):
        assert chosen(text, shuffled) == chosen(text)


def test_adding_pictures_moves_none_across_a_share() -> None:
    more = [*NAMES, *(f"new_{number}" for number in range(50))]
    assert chosen("all[:80%]") <= chosen("all[:80%]", more)
    assert chosen("all[80%:]") <= chosen("all[80%:]", more)


def test_the_choice_is_pinned() -> None:
    """What a name's SHA-256 says: another choice would mix trained and tested pictures."""
    assert chosen("all[:3]", [f"{number}" for number in range(10)]) == {"9", "8", "4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.train: NAME\\[:80%\\] with data.val: NAME\\[80%:\\]"),
        ("  ", "No set of pictures is named"),
        ("a+", "'' is not the name of a set"),
        ("[:80%]", "is not the name of a set"),
        ("a[:80%", "is not the name of a set. Parts are written a\\[:100\\]"),
        ("a[5]", "no part of a set"),
        ("a[]", "no part of a set"),
        ("a[-5:]", "no part of a set"),
        ("a[::2]", "no part of a set"),
        ("a[:1e2]", "no part of a set"),
        ("a[:2.5]", "'2.5' is not a number"),
        ("a[:%]", "'%' is not a number"),
        ("a[:120%]", "no more than 100%"),
        ("a[10%:50]", "mixes a count and a share"),
        ("a[50:20]", "ends before it begins"),
        ("a[:0]", "ends before it begins"),
        ("a[100%:]", "ends before it begins"),
    ],
)
def test_nonsense_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_sets(text)


@pytest.mark.parametrize("text", ["a[7:]", "a[:1%]"])
def test_an_empty_part_is_refused(text: str) -> None:
    (part,) = parse_sets(text)
    with pytest.raises(DataError, match=r"a\[.*\]: no picture lies in this part of the 5 of a"):
        part.choose(["1", "2", "3", "4", "5"])


def test_a_lone_set_is_said_to_serve_for_both() -> None:
    assert known_sets(Path("data"), ["all"]) == (
        "Sets in data: all. Where one is to serve for both, write data.train: NAME[:80%] with "
        "data.val: NAME[80%:]."
    )
    assert known_sets(Path("data"), ["train", "val"]) == "Sets in data: train, val."
