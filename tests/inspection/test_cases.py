"""Single cases by hand: which picture a finding belongs to, and who is whose twin."""

from types import SimpleNamespace

import numpy as np

from rfcn.datasets.findings import Finding
from rfcn.datasets.survey import Look
from rfcn.inspection.cases import Part, picture_cases, reader_cases, twin_cases

PATHS = ["d/VOC2007/JPEGImages/1.jpg", "d/VOC2012/JPEGImages/1.png"]


def test_findings_find_their_picture_and_box() -> None:
    found = [
        Finding("bad", "somewhere at 5 6 7 8", "d/VOC2012/Annotations/1.xml", 3),
        Finding("size", "said", PATHS[0]),
        Finding("broken", "whole set"),
        Finding("cut", "somewhere at -0.5 1e3 7 8", "d/other.xml"),
    ]
    voc = list(reader_cases(found, "val", PATHS, one_based=True))
    assert [case.picture for case in voc] == [1, 0, None, None]
    assert [case.boxes for case in voc] == [((4, 5, 7, 8),), (), (), ((-1.5, 999, 7, 8),)]
    assert (voc[0].kind, voc[0].part, voc[0].object) == ("bad", "val", 3)
    coco = next(reader_cases(found, "val", PATHS, one_based=False))
    assert coco.boxes == ((5, 6, 12, 14),)


def part(name: str, pixels: list[bytes], small: list[int] | None = None) -> Part:
    """Pictures by their hashes; `small` draws what they look like."""
    names = [f"{name}/{number}" for number in range(len(pixels))]
    sizes = [(50, 100)] * len(pixels)
    dataset = SimpleNamespace(paths=names, sizes=sizes, class_names=("cat",))
    grey = [
        np.random.default_rng(seed).integers(0, 256, 256, np.uint8).tobytes()
        for seed in small or range(1000 * len(name), 1000 * len(name) + len(pixels))
    ]
    looks = [
        Look(None, (50, 100), one, fingerprint=grey[i][0] << 40 | grey[i][1], small=grey[i])
        for i, one in enumerate(pixels)
    ]
    return Part(name, name, dataset, None, looks)  # type: ignore[arg-type]


def told(parts: list[Part]) -> list[tuple[str, str]]:
    return [(case.kind, case.place) for case in twin_cases(parts)]


def test_twins_within_and_leaks_across() -> None:
    parts = [part("train", [b"a", b"b", b"a"]), part("val", [b"c", b"a", b"c"])]
    assert told(parts) == [
        ("twin", "train/2 is train/0"),
        ("leak", "val/1 is train/0"),
        ("twin", "val/2 is val/0"),
    ]


def test_near_twins_are_named_once_and_never_beside_equal_ones() -> None:
    parts = [
        part("train", [b"a", b"b", b"c"], [1, 1, 2]),
        part("val", [b"d", b"a"], [1, 1]),
    ]  # all but c look alike
    assert sorted(told(parts)) == [
        ("leak", "val/1 is train/0"),
        ("near leak", "val/0 is much like train/0"),
        ("near twin", "train/1 is much like train/0"),
    ]


def test_one_file_in_both_sets() -> None:
    train, val = part("train", [b"a"]), part("val", [b"a"])
    val.dataset.paths[0] = "train/0"  # type: ignore[union-attr]
    assert told([train, val]) == [("leak", "train/0, in both")]


def test_k14_a_size_that_the_picture_does_not_have() -> None:
    one = part("train", [b"a", b"b"])
    one.looks[1] = one.looks[1]._replace(size=(100, 50))
    (case,) = picture_cases(one, short_side=50, max_long_side=100, stride=16)
    assert (case.kind, case.picture) == ("other size", 1)
    assert case.place == "train/1: 50 x 100, annotated as 100 x 50 (turned by 90 degrees: EXIF?)"
