"""Things of one kind worked on together, the answers in the order of the things."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

AHEAD = 4
"""Batches of things that may wait for others of their kind."""


def alike_together(
    items: Iterable[Item],
    work: Callable[[list[Item]], Sequence[Answer]],
    *,
    kind: Callable[[Item], Hashable],
    batch_size: int,
) -> Iterator[tuple[Item, Answer]]:
    """Each item with its answer, in the order given.

    `work` gets up to `batch_size` items of one `kind` at a time. Items are taken one by one, and
    hardly more than four batches of them are held: a film may be longer than the memory.
    """
    waiting: dict[Hashable, list[tuple[int, Item]]] = {}
    ready: dict[int, tuple[Item, Answer]] = {}
    given = 0

    def do(which: Hashable) -> None:
        group = waiting.pop(which)
        answers = work([item for _, item in group])
        for (place, item), answer in zip(group, answers, strict=True):
            ready[place] = (item, answer)

    for place, item in enumerate(items):
        group = waiting.setdefault(kind(item), [])
        group.append((place, item))
        if len(group) == batch_size:
            do(kind(item))
        if given not in ready and place + 1 - given >= AHEAD * batch_size:
            do(next(iter(waiting)))  # the kind that waits longest holds the others up
        while given in ready:
            yield ready.pop(given)
            given += 1
    while waiting:
        do(next(iter(waiting)))
    while given in ready:
        yield ready.pop(given)
        given += 1
