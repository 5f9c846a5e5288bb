"""Several looks at a picture: identities on a real detector, choices on parts that cost nothing."""

import pytest
import torch
from torch.testing import assert_close

from rfcn.boxes import decode
from rfcn.build import build_detector
from rfcn.config.loader import config_from_mapping
from rfcn.models.postprocess import PostProcess
from rfcn.models.suppression import BoxVoting, SoftNMS
from rfcn.models.test_time import (
    OneLook,
    TestTimeDetector,
    foreground_boxes,
    mirror_pictures,
)
from rfcn.structures import Candidates, ImageBatch, Pyramid

TINY = {
    "backbone": {"type": "tiny", "width": 8},
    "proposer": {"channels": 16, "test_proposals": 40, "anchors": {"scales": [1, 2, 4]}},
    "roi_head": {"k": 3, "reduction": 32},
}


def make_detector(box_scale):
    """Scores differ from RoI to RoI, and so do offsets unless their scale is 0."""
    torch.manual_seed(0)
    config = config_from_mapping({"model": TINY}, source="test").model
    model = build_detector(config, ["cat", "dog"], pretrained=False).eval()
    torch.nn.init.normal_(model.roi_head.score_maps.weight, std=3.0)
    torch.nn.init.normal_(model.roi_head.box_maps.weight, std=box_scale)
    return model


@pytest.fixture(scope="module")
def detector():
    return make_detector(box_scale=0.3)


def batch_of(*sizes, original=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    tensor = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for picture, (h, w) in zip(tensor, sizes, strict=True):
        noise = torch.randint(0, 256, (3, h // 8 + 1, w // 8 + 1), generator=g).repeat_interleave(
            8, dim=1
        )
        picture[:, :h, :w] = noise.repeat_interleave(8, dim=2)[:, :h, :w].to(torch.uint8)
    return ImageBatch(tensor, list(sizes), list(original or sizes), ["a", "b"][: len(sizes)])


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert len(other) > 5
        assert_close(one.scores, other.scores)
        assert_close(one.boxes, other.boxes, rtol=0, atol=1e-3)
        assert one.labels.tolist() == other.labels.tolist()
        assert one.rois.tolist() == other.rois.tolist()


@pytest.mark.parametrize("assignment", ["nearest", "every"])
def test_one_scale_is_the_plain_detector(detector, assignment):
    batch = batch_of((96, 128), (80, 112), original=((192, 256), (160, 224)))
    with torch.no_grad():
        expected = detector(batch)
        found = TestTimeDetector(detector, assignment=assignment)(Pyramid((batch,)))
        assert_same(OneLook(detector)(Pyramid((batch,))), expected)
    assert_same(found, expected)


def test_doubles_of_all_looks_are_chosen_among_together(detector, monkeypatch):
    """The same picture at two sizes, all of it read at both: every candidate comes twice, which
    moves no box that its own double votes for."""
    post = PostProcess(suppression=SoftNMS(method="gaussian"), box_voting=BoxVoting(0.999))
    monkeypatch.setattr(detector, "postprocess", post)
    batch = batch_of((96, 128))
    with torch.no_grad():
        expected = detector(batch)
        found = TestTimeDetector(detector)(Pyramid((batch, batch)))
        twice = TestTimeDetector(detector, assignment="every")(Pyramid((batch, batch)))
    assert_same(found, expected)
    assert twice[0].scores[0] == expected[0].scores[0]
    assert_close(twice[0].boxes[0], expected[0].boxes[0])
    assert len(twice[0]) > len(expected[0])  # a double is weaker, not gone


def test_every_scale_twice_the_same_is_the_plain_detector(detector):
    batch = batch_of((96, 128))
    with torch.no_grad():
        expected = detector(batch)
        found = TestTimeDetector(detector)(Pyramid((batch, batch)))
    assert_same(found, expected)


def test_regressing_by_nothing_changes_nothing():
    batch = batch_of((96, 128))
    still = make_detector(box_scale=0)
    with torch.no_grad():
        expected = still(batch)
        found = TestTimeDetector(still, box_iterations=2)(Pyramid((batch,)))
    assert_same(found, expected)


def test_regressed_boxes_are_looked_at_again(detector):
    batch = batch_of((96, 128))
    with torch.no_grad():
        plain = detector(batch)[0]
        [found] = TestTimeDetector(detector, box_iterations=1)(Pyramid((batch,)))
    # What the first look said stays a candidate: the best score can only rise.
    assert found.scores[0] >= plain.scores[0]
    assert not torch.equal(found.scores[: len(plain)], plain.scores[: len(found)])


def test_a_mirrored_mirror_is_the_picture():
    batch = batch_of((40, 64), (32, 48))
    twice = mirror_pictures(mirror_pictures(batch))
    assert torch.equal(twice.tensor, batch.tensor)
    once = mirror_pictures(batch).tensor
    assert torch.equal(once[1, :, :32, :48], batch.tensor[1, :, :32, :48].flip(-1))
    assert not once[1, :, :, 48:].any()


def test_looking_at_the_mirror_treats_both_sides_alike(detector):
    """A picture and its mirror give mirrored detections, which one look alone does not."""
    batch = batch_of((96, 128))
    turned = mirror_pictures(batch)
    both = TestTimeDetector(detector, flip=True)
    # The same proposals for both: only then does the rest have to agree.
    boxes = torch.tensor([[8.0, 8, 72, 88], [40, 16, 120, 80], [0, 0, 128, 96], [64, 0, 96, 40]])
    with torch.no_grad():
        levels = [[*both._views(batch)]], [[*both._views(turned)]]
        [here] = both._candidates(levels[0], [boxes])
        mirrored = boxes.clone()
        mirrored[:, [0, 2]] = 128 - boxes[:, [2, 0]]
        [there] = both._candidates(levels[1], [mirrored])
    assert_close(here.scores, there.scores)
    back = there.boxes.clone()
    back[..., [0, 2]] = 128 - there.boxes[..., [2, 0]]
    assert_close(here.boxes, back, rtol=0, atol=1e-3)


def test_each_roi_is_read_where_it_is_nearest_to_224_pixels():
    levels = [[_Level(scale)] for scale in (0.5, 1.0, 2.0)]
    boxes = torch.tensor([[0.0, 0, 500, 500], [0, 0, 220, 230], [0, 0, 90, 100], [0, 0, 9, 9]])
    tester = TestTimeDetector(torch.nn.Module())
    assert [one.tolist() for one in tester._places(levels, boxes, 0)] == [[0], [1], [2, 3]]
    two = TestTimeDetector(torch.nn.Module(), assignment="adjacent")
    assert [one.tolist() for one in two._places(levels, boxes, 0)] == [[0, 1], [0, 1, 2, 3], [2, 3]]
    every = TestTimeDetector(torch.nn.Module(), assignment="every")
    assert [one.tolist() for one in every._places(levels, boxes, 0)] == [[0, 1, 2, 3]] * 3


class _Level:
    def __init__(self, scale):
        self.scale = scale

    def boxes(self, boxes, picture):
        return boxes * self.scale


def test_proposals_of_two_scales_are_joined_best_first():
    tester = TestTimeDetector(torch.nn.Module(), proposal_nms=0.7)
    a = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    b = torch.tensor([[0.0, 0, 10, 9], [50, 50, 60, 60]])
    joined = tester._best_of_scales([a, b])
    assert joined.tolist() == [[0, 0, 10, 10], [20, 20, 30, 30]]  # no more than one scale gave
    wider = tester._best_of_scales([a, torch.cat([b, b + 100])])
    assert wider.tolist() == [
        [0, 0, 10, 10],
        [20, 20, 30, 30],
        [50, 50, 60, 60],
        [100, 100, 110, 109],
    ]


@pytest.mark.parametrize(("sets", "expected"), [(1, 0), (2, 1), (4, 2)])
def test_the_box_that_becomes_a_roi(sets, expected):
    boxes = torch.arange(sets * 4.0).view(1, sets, 4)
    scores = torch.tensor([[0.7, 0.1, 0.15, 0.05]])  # background, and class 2 the best
    found = foreground_boxes(Candidates(boxes, scores, torch.tensor([0])))
    assert found.tolist() == [boxes[0, expected].tolist()]
    nothing = Candidates(boxes[:0], scores[:0], torch.zeros(0, dtype=torch.int64))
    assert foreground_boxes(nothing).shape == (0, 4)


@pytest.fixture(scope="module")
def pooling_detector():
    """With global context, so that every look has a picture of its own beside its RoIs."""
    torch.manual_seed(0)
    head = {"type": "c4_frcnn", "pool": 4, "global_context": True}
    model = {**TINY, "roi_head": head, "test_time": {"assignment": "adjacent"}}
    config = config_from_mapping({"model": model}, source="test").model
    model = build_detector(config, ["cat", "dog"], pretrained=False).eval()
    for layer in (model.roi_head.scores, model.roi_head.context_scores):
        torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(model.roi_head.deltas.weight, std=0.1)
    return model


@pytest.mark.parametrize("assignment", ["nearest", "adjacent"])
@pytest.mark.parametrize("sizes", [1, 2, 3])
def test_sizes_that_are_the_same_are_one(pooling_detector, assignment, sizes):
    batch = batch_of((96, 128), (80, 112), original=((192, 256), (160, 224)))
    with torch.no_grad():
        expected = pooling_detector(batch)
        tester = TestTimeDetector(pooling_detector, assignment=assignment)
        assert_same(tester(Pyramid((batch,) * sizes)), expected)


def test_maxout_of_the_two_nearest_sizes(pooling_detector):
    """By hand: each RoI described at its two sizes, the larger of each number, then the layers."""
    pictures = [batch_of((side, side), original=((200, 200),)) for side in (64, 96, 160)]
    tester = TestTimeDetector(pooling_detector, assignment="adjacent")
    boxes = torch.tensor([[0.0, 0, 200, 200], [20, 30, 180, 190], [5, 5, 195, 150]])
    head = pooling_detector.roi_head
    with torch.no_grad():
        levels = [tester._views(batch) for batch in pictures]
        [found] = tester._candidates(levels, [boxes])
        described = []
        for (view,) in levels[1:]:  # none of the boxes comes near 224 pixels
            regions = pooling_detector.regions(view.batch, [view.boxes(boxes, 0)])
            described.append(head.describe(view.features.roi, *regions))
        outputs = head.judge(torch.maximum(*described))
    assert_close(found.scores, outputs.class_logits.softmax(dim=1))
    moved = decode(outputs.box_deltas, boxes[:, None], (0.1, 0.1, 0.2, 0.2)).clamp(0, 200)
    assert_close(found.boxes, moved)
    assert not torch.equal(described[0], described[1])


def test_the_mirror_of_merged_sizes_treats_both_sides_alike(pooling_detector):
    batches = [batch_of((64, 96)), batch_of((64, 96), seed=1)]
    tester = TestTimeDetector(pooling_detector, assignment="adjacent", flip=True)
    boxes = torch.tensor([[8.0, 8, 72, 60], [40, 16, 90, 60]])
    turned = torch.stack([96 - boxes[:, 2], boxes[:, 1], 96 - boxes[:, 0], boxes[:, 3]], dim=1)
    with torch.no_grad():
        [here] = tester._candidates([tester._views(one) for one in batches], [boxes])
        mirrored = [tester._views(mirror_pictures(one)) for one in batches]
        [there] = tester._candidates(mirrored, [turned])
    assert_close(here.scores, there.scores)
    back = there.boxes.clone()
    back[..., [0, 2]] = 96 - there.boxes[..., [2, 0]]
    assert_close(here.boxes, back, rtol=0, atol=1e-3)


def test_several_scales_of_a_whole_detector(detector):
    small = batch_of((64, 96), original=((128, 192),))
    large = batch_of((128, 192))
    tester = TestTimeDetector(detector, flip=True, box_iterations=1)
    with torch.no_grad():
        [found] = tester(Pyramid((small, large)))
    assert len(found) > 0
    assert found.scores.isfinite().all()
    assert (found.boxes[:, 2] <= 192).all()
