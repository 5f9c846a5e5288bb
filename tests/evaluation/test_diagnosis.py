"""The usual mistakes, injected on purpose: each must be named."""

import pytest
import torch

from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target

NAMES = ("cat", "dog", "cow", "owl")


def scene(seed: int = 0) -> tuple[dict[str, Target], dict[str, Detections]]:
    """Twelve pictures of 640 x 480 with good detections: a few pixels off, some false."""
    generator = torch.Generator().manual_seed(seed)
    truths, found = {}, {}
    for number in range(12):
        corner = torch.rand(4, 2, generator=generator) * torch.tensor([450.0, 300.0])
        sides = 60 + torch.rand(4, 2, generator=generator) * 100
        boxes = torch.cat([corner, corner + sides], dim=1)
        labels = torch.randint(1, 4, (4,), generator=generator)
        truths[str(number)] = Target(boxes, labels, torch.zeros(4, dtype=torch.bool))
        near = boxes + torch.randn(4, 4, generator=generator) * 3
        found[str(number)] = Detections(near, torch.tensor([0.9, 0.8, 0.7, 0.6]), labels)
    return truths, found


def diagnosis(truths, found):
    evaluator = VOCEvaluator(truths, NAMES)
    evaluator.update(list(found), list(found.values()))
    return evaluator.compute().diagnosis


def changed(found, **changes):
    return {
        name: Detections(
            changes.get("boxes", lambda one: one.boxes)(one),
            one.scores,
            changes.get("labels", lambda one: one.labels)(one),
        )
        for name, one in found.items()
    }


def test_good_detections_need_no_diagnosis():
    assert diagnosis(*scene()) is None


def test_e1_nothing_found():
    truths, _ = scene()
    assert "no detections at all" in diagnosis(truths, {})
    assert "no detections at all" in diagnosis(
        truths, {"0": Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())}
    )


def test_e9_labels_shifted_up_by_one():
    truths, found = scene()
    says = diagnosis(truths, changed(found, labels=lambda one: one.labels + 1))
    assert "every label lowered by one" in says


def test_e9_labels_shifted_down_by_one():
    truths, found = scene()
    raised = {
        name: Target(one.boxes, one.labels + 1, one.difficult) for name, one in truths.items()
    }
    assert "every label raised by one" in diagnosis(raised, found)


def test_e9_another_order_of_classes():
    truths, found = scene()
    turned = torch.tensor([0, 3, 4, 1])
    says = diagnosis(truths, changed(found, labels=lambda one: turned[one.labels]))
    assert "the boxes are right and the classes are wrong" in says


@pytest.mark.parametrize("scale", [1.6, 0.4, 0.05])
def test_e9_boxes_at_another_scale(scale):
    truths, found = scene()
    says = diagnosis(truths, changed(found, boxes=lambda one: one.boxes * scale))
    factor = float(says.split("Scaled by about ")[1].split()[0])
    assert factor == pytest.approx(1 / scale, rel=0.05)


def test_e9_boxes_with_x_and_y_swapped():
    truths, found = scene()
    right = torch.tensor([500.0, 0.0, 500.0, 0.0])
    truths = {
        name: Target(one.boxes + right, one.labels, one.difficult) for name, one in truths.items()
    }
    swap = [1, 0, 3, 2]
    says = diagnosis(truths, changed(found, boxes=lambda one: (one.boxes + right)[:, swap]))
    assert "Read as (y1, x1, y2, x2) the boxes would be right" in says


@pytest.mark.parametrize(
    ("words", "first", "second", "written"),
    [
        ("Read as (x, y, width, height)", 50, 130, lambda a, b: (a, b - a)),
        ("Read as (centre x, centre y, width, height)", 20, 150, lambda a, b: ((a + b) / 2, b - a)),
        ("corners that were taken for sides", 50, 130, lambda a, b: (a, a + b)),
    ],
    ids=["xywh", "cxcywh", "added"],
)
def test_e9_boxes_written_in_another_form(words, first, second, written):
    """Near the corner of the picture, where no such box is refused for a negative side."""
    truths, found = scene()
    corners = torch.tensor([first, first, second, second])
    truths = {
        name: Target(one.boxes / 20 + corners, one.labels, one.difficult)
        for name, one in truths.items()
    }

    def write(one):
        boxes = one.boxes / 20 + corners
        return torch.cat(written(boxes[:, :2], boxes[:, 2:]), dim=1)

    assert words in diagnosis(truths, changed(found, boxes=write))


def test_e9_boxes_as_fractions_of_the_sides():
    truths, found = scene()
    sides = torch.tensor([640.0, 480.0, 640.0, 480.0])
    says = diagnosis(truths, changed(found, boxes=lambda one: one.boxes / sides))
    assert "fractions of the sides of the picture" in says
    assert "Multiply x by its width and y by its height" in says


@pytest.mark.parametrize(("shift", "word"), [(1, "previous"), (-1, "next")])
def test_e9_detections_of_the_neighbouring_picture(shift, word):
    truths, found = scene()
    names = list(truths)
    moved = {
        names[n + shift]: found[name] for n, name in enumerate(names) if 0 <= n + shift < len(names)
    }
    assert f"fit the {word} picture" in diagnosis(truths, moved)


def test_boxes_without_any_sense_are_called_unlearned():
    truths, found = scene()
    generator = torch.Generator().manual_seed(9)

    def anywhere(one):
        corner = torch.rand(4, 2, generator=generator) * 500
        return torch.cat([corner, corner + 12], dim=1)

    says = diagnosis(truths, changed(found, boxes=anywhere))
    assert "48 detections were scored" in says
    assert "has probably not learned yet" in says


def test_pictures_with_found_boxes_of_no_size_do_not_break_the_search():
    truths, found = scene()
    says = diagnosis(truths, changed(found, boxes=lambda one: one.boxes * 0))
    assert "has probably not learned yet" in says
