"""Things of one kind together, in their order."""

from collections.abc import Iterator

import pytest

from rfcn.inference.batches import AHEAD, alike_together


def answers(words: list[str], batch_size: int) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Words worked on with those of their length; the answers, and what was done together."""
    groups: list[list[str]] = []

    def work(group: list[str]) -> list[str]:
        groups.append(group)
        return [word.upper() for word in group]

    return list(alike_together(words, work, kind=len, batch_size=batch_size)), groups


WORDS = ["a", "bb", "c", "dd", "e", "fff", "g", "h"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_every_answer_once_in_order(batch_size: int) -> None:
    pairs, groups = answers(WORDS, batch_size)
    assert pairs == [(word, word.upper()) for word in WORDS]
    assert all(len({len(word) for word in group}) == 1 for group in groups)
    assert max(map(len, groups)) == min(batch_size, 5)


def test_what_is_done_together() -> None:
    assert answers(WORDS, 2)[1] == [["a", "c"], ["bb", "dd"], ["e", "g"], ["fff"], ["h"]]
    assert answers([], 2) == ([], [])


def test_few_are_held_however_many_come() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        yield "of a kind of its own"
        while True:
            taken += 1
            yield "x" * (taken % 2)

    stream = alike_together(endless(), lambda group: group, kind=len, batch_size=3)
    assert next(stream) == ("of a kind of its own", "of a kind of its own")
    assert taken <= AHEAD * 3
    for _ in range(100):
        next(stream)
    assert taken <= 100 + AHEAD * 3


def test_a_batch_of_one_waits_for_nothing() -> None:
    taken = []
    items = (taken.append(word) or word for word in WORDS)
    stream = alike_together(items, lambda group: group, kind=len, batch_size=1)
    for count, _ in enumerate(stream, start=1):
        assert len(taken) == count
