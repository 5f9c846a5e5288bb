"""AP of parts of the objects: hand-made cases, and the definition in loops."""

import numpy as np
import pytest

from rfcn.evaluation.scored import gather, judge_all
from rfcn.evaluation.slices import Part, measure, parts_of, slice_aps

NAMES = ("cat", "dog", "cow")
SIZE = np.array([[80, 100]])
SMALL, MEDIUM = [0, 0, 31, 32], [40, 0, 72, 32]


def by_name(truths, found, sizes=SIZE):
    scored = gather({"a": truths}, {"a": found}, NAMES)
    return {one.name: one for one in slice_aps(scored, judge_all(scored), sizes)}


def test_cocos_borders_of_size(target, detections):
    large = [0, 0, 96, 96]
    slices = by_name(target([SMALL, MEDIUM, large], [1, 1, 1]), detections([MEDIUM], [0.9], [1]))
    assert [slices[name].truths for name in ("small", "medium", "large")] == [1, 1, 1]
    assert [slices[name].ap for name in ("small", "medium", "large")] == [0, 1, 0]
    assert [slices[name].found for name in ("small", "medium", "large")] == [0, 1, 0]


def test_what_is_right_outside_of_a_part_is_no_fault_in_it(target, detections):
    found = detections([SMALL, MEDIUM], [0.9, 0.8], [1, 1])
    slices = by_name(target([SMALL, MEDIUM], [1, 1]), found)
    assert slices["small"].ap == slices["medium"].ap == 1
    assert slices["large"].ap is None


def test_a_wrong_box_counts_in_the_part_it_belongs_to(target, detections):
    elsewhere = [60, 40, 90, 70]  # 30 x 30: small
    found = detections([elsewhere, SMALL, MEDIUM], [0.9, 0.8, 0.7], [1, 1, 1])
    slices = by_name(target([SMALL, MEDIUM], [1, 1]), found)
    assert slices["small"].ap == 0.5
    assert slices["medium"].ap == 1


def test_shapes(target, detections):
    truths = target([[0, 0, 20, 31], [0, 0, 20, 20], [50, 50, 80, 70]], [1, 1, 1])
    slices = by_name(truths, detections([], [], []))
    assert [slices[name].truths for name in ("tall", "square", "wide")] == [1, 1, 1]


def test_crowding_is_between_objects_of_whatever_class(target, detections):
    truths = target([[0, 0, 20, 20], [10, 0, 30, 20], [60, 40, 90, 70]], [1, 2, 1])
    slices = by_name(truths, detections([], [], []))
    assert (slices["crowded"].truths, slices["alone"].truths) == (2, 1)


def test_places(target, detections):
    truths = target([[20, 15, 40, 35], [0, 0, 20, 20]], [1, 1])  # centres (30, 25), (10, 10)
    slices = by_name(truths, detections([], [], []))
    assert (slices["middle"].truths, slices["border"].truths) == (1, 1)


def test_difficult_objects_are_in_no_part(target, detections):
    slices = by_name(target([SMALL], [1], [True]), detections([SMALL], [0.9], [1]))
    assert all(one.truths == 0 and one.ap is None for one in slices.values())


# -------------------------------------------------------------------------------- in slow motion


def belongs(slow, name, thing, objects, is_truth):
    x1, y1, x2, y2 = thing.box
    width, height = x2 - x1, y2 - y1
    others = [o for o in objects if not (is_truth and o.index == thing.index)]
    touched = sum(slow.overlap(thing, o) >= 0.1 for o in others)
    centred = abs((x1 + x2) / 2 - 50) <= 25 and abs((y1 + y2) / 2 - 40) <= 20
    return {
        "small": width * height < 1024,
        "medium": 1024 <= width * height < 9216,
        "large": width * height >= 9216,
        "tall": width / height < 2 / 3,
        "square": 2 / 3 <= width / height < 1.5,
        "wide": width / height >= 1.5,
        "alone": touched < (1 if is_truth else 2),
        "crowded": touched >= (1 if is_truth else 2),
        "middle": centred,
        "border": not centred,
    }[name]


@pytest.mark.parametrize("seed", range(6))
def test_every_part_is_that_of_the_slow_definition(slow, seed):
    truths, found = slow.random_scene(seed)
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored)
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects)
    seen = set()
    for one in slice_aps(scored, verdicts, np.full((len(truths), 2), [80, 100])):
        inside = {o.index for o in objects if belongs(slow, one.name, o, objects, True)}
        rows = []
        for d in detections:
            mine = slow.nearest(d, [o for o in objects if o.label == d.label])
            lies_on = mine if mine is not None and slow.overlap(d, mine) >= 0.5 else None
            if d.verdict == "ignored" or (lies_on is not None and lies_on.index not in inside):
                continue
            if d.verdict == "right" or belongs(slow, one.name, d, objects, False):
                rows.append((d.label, d.score, d.verdict == "right"))
        asked = [o for o in objects if o.index in inside]
        expected = slow.mean_ap(rows, slow.required_by_class(asked))
        assert one.ap == (None if expected is None else pytest.approx(expected, abs=1e-12))
        assert one.truths == sum(not o.difficult for o in asked)
        assert one.found == sum(o.found_by is not None for o in asked)
        seen.add(one.ap)
    assert len(seen) > 3


def test_the_part_of_everything_has_the_ap_of_everything(slow):
    truths, found = slow.random_scene(3)
    scored = gather(truths, found, NAMES)
    verdicts = judge_all(scored)
    whole = Part(
        "all", "all", np.ones(len(scored.truth_labels), bool), np.ones(len(scored.labels), bool)
    )
    detections, objects = slow.things(truths, found)
    slow.judge(detections, objects)
    rows = [(d.label, d.score, d.verdict == "right") for d in detections if d.verdict != "ignored"]
    expected = slow.mean_ap(rows, slow.required_by_class(objects))
    assert measure(scored, verdicts, whole).ap == pytest.approx(expected)
    assert len({(one.group, one.name) for one in parts_of(scored, np.full((8, 2), 80))}) == 10
