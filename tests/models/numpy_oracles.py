"""Slow second versions of the model's rules, written from their definitions in plain Python.

They share nothing with `rfcn` but the box convention: half-open (x1, y1, x2, y2). All numbers are
Python floats (double precision), all boxes are sequences of four, all results are lists or NumPy.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

Box = Sequence[float]
BACKGROUND, IGNORED = 0, -1


# ---------------------------------------------------------------------------------------- boxes


def iou(a: Box, b: Box) -> float:
    """Shared area over united area; nothing shared and nothing there is 0."""
    shared = 1.0
    area_a = area_b = 1.0
    for low, high in ((0, 2), (1, 3)):
        shared *= max(0.0, min(a[high], b[high]) - max(a[low], b[low]))
        area_a *= max(0.0, a[high] - a[low])
        area_b *= max(0.0, b[high] - b[low])
    united = area_a + area_b - shared
    return shared / united if united > 0 else 0.0


def encode(box: Box, anchor: Box, std: Box = (1, 1, 1, 1)) -> list[float]:
    """Fast R-CNN's t = ((x - x_a) / w_a, (y - y_a) / h_a, log w / w_a, log h / h_a), over std."""
    x, y, w, h = _centre_and_sides(box)
    x_a, y_a, w_a, h_a = _centre_and_sides(anchor)
    t = [(x - x_a) / w_a, (y - y_a) / h_a, math.log(w / w_a), math.log(h / h_a)]
    return [value / one for value, one in zip(t, std, strict=True)]


def decode(offsets: Box, anchor: Box, std: Box = (1, 1, 1, 1)) -> list[float]:
    """The box whose `encode` is `offsets`; no side grows by more than 1000 / 16."""
    t_x, t_y, t_w, t_h = (value * one for value, one in zip(offsets, std, strict=True))
    x_a, y_a, w_a, h_a = _centre_and_sides(anchor)
    x, y = t_x * w_a + x_a, t_y * h_a + y_a
    w = w_a * min(math.exp(min(t_w, 50)), 1000 / 16)
    h = h_a * min(math.exp(min(t_h, 50)), 1000 / 16)
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def clip(box: Box, height: float, width: float) -> list[float]:
    x1, y1, x2, y2 = box
    return [
        min(max(x1, 0), width),
        min(max(y1, 0), height),
        min(max(x2, 0), width),
        min(max(y2, 0), height),
    ]


def nms(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Greedy: take the best that is left, drop what overlaps it by more than the threshold."""
    left = sorted(range(len(boxes)), key=lambda index: -scores[index])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [one for one in left if iou(boxes[best], boxes[one]) <= threshold]
    return kept


def _centre_and_sides(box: Box) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


# -------------------------------------------------------------------------------------- anchors


def inclusive_anchors(base: int, scales: Iterable[float], ratios: Iterable[float]) -> list[Box]:
    """Faster R-CNN's released recipe, in its own convention: x2 and y2 lie inside the box."""
    centre = (base - 1) / 2
    anchors = []
    for ratio in ratios:
        w = np.round(np.sqrt(base * base / ratio))
        h = np.round(w * ratio)
        for scale in scales:
            dx, dy = (w * scale - 1) / 2, (h * scale - 1) / 2
            anchors.append((centre - dx, centre - dy, centre + dx, centre + dy))
    return anchors


# ----------------------------------------------------------------------------------- assignment


def label_anchors(
    anchors: Sequence[Box],
    boxes: Sequence[Box],
    height: float,
    width: float,
    positive_iou: float,
    negative_iou: float,
) -> list[int]:
    """Faster R-CNN, section 3.1.2, with the released code's ties and outside rule."""
    inside = [
        index
        for index, (x1, y1, x2, y2) in enumerate(anchors)
        if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
    ]
    labels = [IGNORED] * len(anchors)
    for index in inside:
        best = max((iou(anchors[index], box) for box in boxes), default=0.0)
        if best >= positive_iou and boxes:
            labels[index] = 1
        elif best < negative_iou or not boxes:
            labels[index] = 0
    for box in boxes:
        highest = max((iou(anchors[index], box) for index in inside), default=0.0)
        for index in inside:
            if highest > 0 and iou(anchors[index], box) == highest:
                labels[index] = 1
    return labels


def best_box(box: Box, boxes: Sequence[Box]) -> tuple[int, float]:
    """Which of `boxes` this one overlaps most (the first of equals), and by how much."""
    overlaps = [iou(box, one) for one in boxes]
    winner = overlaps.index(max(overlaps))
    return winner, overlaps[winner]


# ------------------------------------------------------------------------------------ proposals


def propose(
    scores: Sequence[float],
    offsets: Sequence[Box],
    anchors: Sequence[Box],
    height: float,
    width: float,
    min_side: float,
    candidates: int,
    threshold: float,
    count: int,
) -> list[list[float]]:
    """Faster R-CNN's proposal layer: decode, clip, drop the small, the best few, NMS, the best."""
    scored = []
    for score, offset, anchor in zip(scores, offsets, anchors, strict=True):
        box = clip(decode(offset, anchor), height, width)
        w, h = box[2] - box[0], box[3] - box[1]
        if w > 0 and h > 0 and w >= min_side and h >= min_side and score > -math.inf:
            scored.append((score, box))
    scored.sort(key=lambda pair: -pair[0])
    scored = scored[:candidates]
    boxes = [box for _, box in scored]
    return [boxes[index] for index in nms(boxes, [s for s, _ in scored], threshold)][:count]


# --------------------------------------------------------------------------------------- losses


def log_softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    total = math.log(sum(math.exp(one - highest) for one in logits)) + highest
    return [one - total for one in logits]


def smooth_l1(x: float, sigma: float) -> float:
    """Fast R-CNN, equation 3, with py-R-FCN's sigma."""
    if abs(x) < 1 / sigma**2:
        return 0.5 * (sigma * x) ** 2
    return abs(x) - 0.5 / sigma**2


def rpn_loss(
    logits: Sequence[Sequence[float]],
    offsets: Sequence[Box],
    labels: Sequence[int],
    targets: Sequence[Box],
    sigma: float,
) -> tuple[float, float]:
    """Both halves divided by the number of anchors that are not ignored."""
    classification = boxes = 0.0
    counted = 0
    for logit, offset, label, target in zip(logits, offsets, labels, targets, strict=True):
        if label == IGNORED:
            continue
        counted += 1
        classification -= log_softmax(logit)[label]
        if label == 1:
            boxes += sum(smooth_l1(a - b, sigma) for a, b in zip(offset, target, strict=True))
    counted = max(counted, 1)
    return classification / counted, boxes / counted


def roi_losses(
    logits: Sequence[Sequence[float]],
    offsets: Sequence[Sequence[Box]],
    labels: Sequence[int],
    targets: Sequence[Box],
) -> list[tuple[float, float]]:
    """Class and box loss of each RoI. offsets: for each RoI one, two or C+1 sets of four."""
    losses = []
    for logit, sets, label, target in zip(logits, offsets, labels, targets, strict=True):
        box = 0.0
        if label != BACKGROUND:
            own = {1: 0, 2: 1}.get(len(sets), label)
            box = sum(smooth_l1(a - b, 1) for a, b in zip(sets[own], target, strict=True))
        losses.append((-log_softmax(logit)[label], box))
    return losses


def hardest(losses: Sequence[tuple[float, float]], kept: int) -> list[int]:
    """OHEM (paper, section 2): the RoIs of highest class + box loss."""
    order = sorted(range(len(losses)), key=lambda index: -sum(losses[index]))
    return order[:kept]


# ----------------------------------------------------------------------------------- detections


def detect(
    logits: Sequence[Sequence[float]],
    offsets: Sequence[Sequence[Box]],
    proposals: Sequence[Box],
    size: tuple[int, int],
    original_size: tuple[int, int],
    std: Box,
    score_threshold: float,
    nms_threshold: float,
    count: int,
) -> list[tuple[float, int, list[float]]]:
    """(score, label, box) of one picture, best first: NMS class by class, then the best."""
    y, x = original_size[0] / size[0], original_size[1] / size[1]
    found = []
    for label in range(1, len(logits[0]) if logits else 1):
        boxes, scores = [], []
        for logit, sets, proposal in zip(logits, offsets, proposals, strict=True):
            score = math.exp(log_softmax(logit)[label])
            if score > score_threshold:
                own = {1: 0, 2: 1}.get(len(sets), label)
                x1, y1, x2, y2 = decode(sets[own], proposal, std)
                boxes.append(clip([x1 * x, y1 * y, x2 * x, y2 * y], *original_size))
                scores.append(score)
        found += [(scores[one], label, boxes[one]) for one in nms(boxes, scores, nms_threshold)]
    return sorted(found, key=lambda one: -one[0])[:count]


# --------------------------------------------------------------------------------- random cases


def random_boxes(
    rng: np.random.Generator, count: int, extent: int, *, whole: bool = False
) -> np.ndarray:
    """[count, 4] float32 boxes of positive sides that overlap a square of this many pixels.

    With `whole`, on whole pixels: overlaps then tie often.
    """
    centres = rng.uniform(0, extent, (count, 2))
    sides = np.exp(rng.uniform(np.log(2), np.log(extent), (count, 2)))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    if whole:
        boxes = np.round(boxes)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes.astype(np.float32)
