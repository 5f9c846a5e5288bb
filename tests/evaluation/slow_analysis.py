"""Second versions of the analysis, in loops, straight from the words of the definitions.

They share no arithmetic with `rfcn.evaluation`; a detection or an object is a small record.
"""

from dataclasses import dataclass, field

import torch

from rfcn.structures import Detections, Target


def random_scene(
    seed: int, *, pictures: int = 8, classes: int = 3
) -> tuple[dict[str, Target], dict[str, Detections]]:
    """Crowded pictures of 100 x 80: near misses, wrong classes, doubles, ties of score, difficult
    objects, a picture without objects and one without detections."""
    chance = torch.Generator().manual_seed(seed)

    def draw(count: int, most: int) -> torch.Tensor:
        return torch.randint(0, most, (count,), generator=chance)

    def boxes(count: int) -> torch.Tensor:
        corner = torch.stack([draw(count, 70), draw(count, 50)], 1).float()
        return torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=chance) * 30], 1)

    truths, found = {}, {}
    for number in range(pictures):
        count = 0 if number == 1 else int(draw(1, 5)) + 1
        target = Target(boxes(count), draw(count, classes) + 1, draw(count, 5) == 0)
        truths[f"p{number}"] = target
        if number == 2:
            continue
        copies = draw(7 if count else 0, max(count, 1))
        near = target.boxes[copies] + torch.randn(len(copies), 4, generator=chance) * 3
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
        changed = draw(len(copies), 3) == 0
        labels = torch.where(
            changed, draw(len(copies), classes) + 1, target.labels[copies] if count else copies
        )
        everything = torch.cat([near, boxes(3)])
        found[f"p{number}"] = Detections(
            everything,
            (draw(len(everything), 12).float() + 0.5) / 13,
            torch.cat([labels, draw(3, classes) + 1]),
        )
    return truths, found


@dataclass
class Thing:
    """A detection or an object."""

    index: int
    picture: int
    label: int
    box: list[float]
    score: float = 0.0
    difficult: bool = False
    verdict: str = ""
    stands_for: "Thing | None" = None
    found_by: "Thing | None" = field(default=None, repr=False)


def things(
    truths: dict[str, Target], found: dict[str, Detections]
) -> tuple[list[Thing], list[Thing]]:
    """Detections and objects, in the order of the pictures."""
    detections: list[Thing] = []
    objects: list[Thing] = []
    for picture, (name, target) in enumerate(truths.items()):
        for row in range(len(target.labels)):
            objects.append(
                Thing(
                    len(objects),
                    picture,
                    int(target.labels[row]),
                    target.boxes[row].tolist(),
                    difficult=bool(target.difficult[row]),
                )
            )
        one = found.get(name)
        for row in range(0 if one is None else len(one)):
            detections.append(
                Thing(
                    len(detections),
                    picture,
                    int(one.labels[row]),
                    one.boxes[row].tolist(),
                    float(one.scores[row]),
                )
            )
    return detections, objects


def overlap(a: Thing, b: Thing) -> float:
    if a.picture != b.picture:
        return 0.0
    width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in (a, b)]
    return width * height / (sum(areas) - width * height)


def best_first(detections: list[Thing]) -> list[Thing]:
    return sorted(detections, key=lambda one: (-one.score, one.index))


def nearest(one: Thing, objects: list[Thing]) -> Thing | None:
    return max(objects, key=lambda o: (overlap(one, o), -o.index), default=None)


def judge(detections: list[Thing], objects: list[Thing], iou: float = 0.5) -> None:
    """Gives each detection its verdict: right, wrong or ignored."""
    for one in best_first(detections):
        mine = nearest(one, [o for o in objects if o.label == one.label and overlap(one, o) > 0])
        if mine is None or overlap(one, mine) < iou:
            one.verdict = "wrong"
        elif mine.difficult:
            one.verdict = "ignored"
        elif mine.found_by is None:
            one.verdict, one.stands_for, mine.found_by = "right", mine, one
        else:
            one.verdict = "wrong"


def area_ap(verdicts: list[bool], required: float) -> float | None:
    """The precision at the best later rank, over all ranks that are right."""
    if required == 0:
        return None
    true, precisions = 0, []
    for rank, right in enumerate(verdicts, start=1):
        true += right
        precisions.append(true / rank)
    return sum(max(precisions[rank:]) for rank, right in enumerate(verdicts) if right) / required


def mean_ap(rows: list[tuple[int, float, bool]], required: dict[int, int]) -> float | None:
    """The mean AP of (label, score, right) in the order of ties."""
    aps = []
    for label, count in required.items():
        mine = sorted(
            (-score, i, right) for i, (of, score, right) in enumerate(rows) if of == label
        )
        aps.append(area_ap([right for _, _, right in mine], count))
    known = [ap for ap in aps if ap is not None]
    return sum(known) / len(known) if known else None


def required_by_class(objects: list[Thing], classes: int = 3) -> dict[int, int]:
    return {
        label: sum(o.label == label and not o.difficult for o in objects)
        for label in range(1, classes + 1)
    }
