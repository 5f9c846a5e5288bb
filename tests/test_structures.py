import dataclasses

import pytest
import torch

from rfcn.structures import Detections, ImageBatch, Target

META = torch.device("meta")


def a_target():
    return Target(
        boxes=torch.tensor([[0.0, 0, 2, 2]]),
        labels=torch.tensor([3]),
        difficult=torch.tensor([True]),
        seed=11,
    )


def a_batch():
    return ImageBatch(
        tensor=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        sizes=[(8, 6), (4, 8)],
        original_sizes=[(16, 12), (8, 16)],
        ids=["a", "b"],
    )


def some_detections():
    return Detections(
        boxes=torch.arange(12.0).view(3, 4),
        scores=torch.tensor([0.9, 0.5, 0.1]),
        labels=torch.tensor([1, 2, 1]),
        rois=torch.tensor([5, 0, 7]),
    )


def test_moving_a_target_keeps_its_seed_and_the_original():
    target = a_target()
    moved = target.to(META)
    assert {moved.boxes.device, moved.labels.device, moved.difficult.device} == {META}
    assert moved.seed == 11
    assert target.boxes.device.type == "cpu"


def test_moving_a_batch_keeps_its_sizes_and_names():
    moved = a_batch().to(META)
    assert moved.tensor.device == META
    assert (moved.sizes, moved.original_sizes, moved.ids) == (
        [(8, 6), (4, 8)],
        [(16, 12), (8, 16)],
        ["a", "b"],
    )


def test_a_batch_is_as_long_as_its_pictures():
    assert len(a_batch()) == 2


def test_batches_do_not_share_their_names():
    one, other = (ImageBatch(torch.zeros(0), [], []) for _ in range(2))
    one.ids.append("a")
    assert other.ids == []


def test_moving_detections():
    moved = some_detections().to(META)
    tensors = moved.boxes, moved.scores, moved.labels, moved.rois
    assert {tensor.device for tensor in tensors} == {META}


def test_detections_need_not_know_their_rois():
    unknown = dataclasses.replace(some_detections(), rois=None)
    assert unknown.to(META).rois is None
    assert unknown.above(0.5).rois is None


def test_above_includes_the_threshold():
    kept = some_detections().above(0.5)
    assert len(kept) == 2
    assert kept.labels.tolist() == [1, 2]
    assert kept.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert kept.rois.tolist() == [5, 0]
    assert len(some_detections().above(0.95)) == 0
    assert some_detections().above(0.95).boxes.shape == (0, 4)


@pytest.mark.parametrize("make", [a_target, a_batch, some_detections])
def test_fields_cannot_be_replaced(make):
    one = make()
    name = dataclasses.fields(one)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, None)
