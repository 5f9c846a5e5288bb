"""The same picture again: exactly, and nearly."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.rules import FileRules
from rfcn.datasets.survey import Look, look_at
from rfcn.datasets.survey_twins import equal_groups, near_pairs


def test_groups_of_equal_hashes() -> None:
    assert equal_groups([b"a", b"b", b"", b"a", b"c", b"b", b"", b"a"]) == [[0, 3, 7], [1, 5]]
    assert equal_groups([]) == []


def scene(seed: int) -> Image.Image:
    """A picture with structure: a few blurred blobs."""
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(0, 256, (6, 8, 3), np.uint8))
    return small.resize((160, 120), Image.Resampling.BICUBIC)


def look(picture: Image.Image, folder: Path) -> Look:
    picture.save(folder / "x.png")
    return look_at(str(folder / "x.png"), FileRules())


def pairs(looks: list[Look]) -> list[tuple[int, int]]:
    return near_pairs([one.fingerprint for one in looks], [one.small for one in looks])


def test_recompressed_and_resized_copies_are_near_others_are_not(tmp_path: Path) -> None:
    pictures = [scene(number) for number in range(12)]
    content = io.BytesIO()
    pictures[3].save(content, format="JPEG", quality=40)
    pictures += [Image.open(content).convert("RGB"), pictures[5].resize((97, 71))]
    assert pairs([look(one, tmp_path) for one in pictures]) == [(3, 12), (5, 13)]


def test_flat_pictures_are_like_none_and_unread_ones_take_no_part(tmp_path: Path) -> None:
    flat = look(Image.new("RGB", (40, 30), (200, 10, 10)), tmp_path)
    assert pairs([flat, flat]) == []
    structured = look(scene(0), tmp_path)
    assert pairs([Look("unreadable"), structured, Look("unreadable"), structured]) == [(1, 3)]
    assert pairs([]) == []


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4])
def test_every_pair_within_three_bits_is_found_wherever_they_differ(bits: int) -> None:
    chance = np.random.default_rng(bits)
    small = chance.integers(0, 256, 256, np.uint8).tobytes()
    for _ in range(50):
        one = int(chance.integers(2**63))
        other = one
        for place in chance.choice(64, bits, replace=False):
            other ^= 1 << int(place)
        assert near_pairs([one, other], [small, small]) == ([(0, 1)] if bits <= 3 else [])


def test_equal_fingerprints_of_unlike_pictures_are_not_near() -> None:
    a, b = (np.random.default_rng(n).integers(0, 256, 256, np.uint8).tobytes() for n in (0, 1))
    assert near_pairs([5, 5], [a, b]) == []


def test_many_pictures_of_one_scene_are_each_named_once() -> None:
    small = np.random.default_rng(0).integers(0, 256, 256, np.uint8).tobytes()
    other = np.random.default_rng(1).integers(0, 256, 256, np.uint8).tobytes()
    found = near_pairs([9, *[7] * 3000, 9], [other, *[small] * 3000, other])
    assert found == [*((1, j) for j in range(2, 3001)), (0, 3001)]
