"""Which pictures are the same, bit for bit or nearly."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

MOST_BITS = 3
"""Bits in which the fingerprints of near duplicates may differ."""
MOST_DIFFERENCE = 4.0
"""Levels of 255 by which their 16 x 16 grey versions may differ, in the mean."""
LEAST_CONTRAST = 6.0
"""Pictures whose 16 x 16 grey version varies less (standard deviation) are too flat to compare."""
_BANDS = 4
"""Of two fingerprints that differ in 3 bits, one of 4 quarters is equal (pigeonhole)."""


def equal_groups(hashes: Sequence[bytes]) -> list[list[int]]:
    """The groups of two and more numbers whose hashes are equal, each in order; an empty hash is
    equal to none."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for number, one in enumerate(hashes):
        if one:
            found[one].append(number)
    return [group for group in found.values() if len(group) > 1]


def near_pairs(fingerprints: Sequence[int], small: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that look nearly the same: each j once, with the first i;
    sorted by j.

    fingerprints, small: of each picture as in `rfcn.datasets.survey.Look`; an empty `small` takes
    no part. Recompressed and resized copies are found; crops and mirrored ones are not. A hint,
    no proof: different pictures of one scene may be found too.
    """
    numbers = np.array([i for i, one in enumerate(small) if one], dtype=np.int64)
    grey = np.array([np.frombuffer(one, np.uint8) for one in small if one]).reshape(-1, 256)
    distinct = grey.std(axis=1) >= LEAST_CONTRAST if len(grey) else np.zeros(0, bool)
    numbers, grey = numbers[distinct], grey[distinct]
    bits = np.array([fingerprints[i] for i in numbers], dtype=np.uint64)
    first: dict[int, int] = {}
    for band in range(_BANDS):
        part = (bits >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(part, kind="stable")
        starts = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(order, starts):
            for one, other in _near_in(bucket, bits, grey):
                first[other] = min(one, first.get(other, one))
    return [(int(numbers[first[other]]), int(numbers[other])) for other in sorted(first)]


def _near_in(bucket: np.ndarray, bits: np.ndarray, grey: np.ndarray) -> Iterator[tuple[int, int]]:
    """The near pairs among the places of one bucket, in order; each second one once, so that many
    pictures of one scene cost no more than as many of different ones."""
    while len(bucket) > 1:
        one, bucket = bucket[0], bucket[1:]
        near = bucket[_differing(bits[bucket], bits[one]) <= MOST_BITS]
        apart = np.abs(grey[near].astype(np.int16) - grey[one].astype(np.int16)).mean(axis=1)
        near = near[apart <= MOST_DIFFERENCE]
        yield from ((int(one), int(other)) for other in near)
        bucket = bucket[~np.isin(bucket, near)] if len(near) else bucket


def _differing(bits: np.ndarray, other: np.uint64) -> np.ndarray:
    """[N] how many of 64 bits differ from those of `other`."""
    octets = (bits ^ other).view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).sum(axis=1)
